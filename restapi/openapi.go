package restapi

import (
	_ "embed" // for the document
	"net/http"
)

// openAPI describes both APIs; a test holds it against the routes.
//
//go:embed openapi.json
var openAPI []byte

func describe(w http.ResponseWriter, r *http.Request) {
	answer{status: http.StatusOK, contentType: jsonType, body: openAPI}.write(w, r)
}
