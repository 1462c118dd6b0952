package restapi

import (
	"cmp"
	"embed"
	"net/http"
	"path"
	"strings"
)

// pageFiles are the live page: hand-written, and served as they are.
//
//go:embed page
var pageFiles embed.FS

// pageRoot is the path of the live page. Its files are below it, in page/.
const pageRoot = "/flowjet/"

// pagePolicy lets the page load its own files and ask its own server, and
// nothing else: no text that users wrote can become markup or script in it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func servePage(w http.ResponseWriter, r *http.Request) {
	name := cmp.Or(r.PathValue("file"), "index.html")
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil || strings.ContainsAny(name, `/\`) {
		notFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", pageTypes[path.Ext(name)])
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write(text) // an error means that the client has disconnected
}

// openAPI describes both APIs; a test holds it against the routes.
//
//go:embed openapi.json
var openAPI []byte
