// Package yamlfile reads files that people write in YAML.
package yamlfile

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// errSecond is returned for a file with a second document, which no reader would notice.
var errSecond = errors.New("it has a second document, which nothing would read: remove the line --- before it, or the document")

// Read reads a file's only document into a value; an empty file leaves that as it is. With known, fields that the value does not have are
// errors.
func Read(text []byte, value any, known bool) error {
	reader := yaml.NewDecoder(bytes.NewReader(text))
	reader.KnownFields(known)
	err := reader.Decode(value)
	if errors.Is(err, io.EOF) {
		return nil
	}
	var second yaml.Node
	if err == nil && reader.Decode(&second) == nil && len(second.Content) > 0 && second.Content[0].Tag != "!!null" {
		err = errSecond
	}
	return err
}
