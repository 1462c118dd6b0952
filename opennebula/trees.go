package opennebula

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// VMTree reads the whole of a VM as one.vm.info sends it: its attributes, with
// TEMPLATE and USER_TEMPLATE among them. XML that cannot be read is not worth
// another call: it is no TransportError.
func (s *Session) VMTree(ctx context.Context, id int) (flow.Template, error) {
	return readAs(ctx, s, func(text []byte) (flow.Template, error) {
		tree, err := readTree(text)
		if err != nil {
			return nil, fmt.Errorf("read VM %d: %w", id, err)
		}
		return tree, nil
	}, "one.vm.info", id, false)
}

// Tree is the VM template's attributes.
func (t VMTemplate) Tree() (flow.Template, error) {
	tree, err := readTree([]byte("<TEMPLATE>" + string(t.Template) + "</TEMPLATE>"))
	if err != nil {
		return nil, fmt.Errorf("read VM template %d: %w", t.ID, err)
	}
	return tree, nil
}

// readTree reads what is inside an XML element.
func readTree(text []byte) (flow.Template, error) {
	xmlDecoder := decoder(text)
	for {
		token, err := xmlDecoder.Token()
		if err != nil {
			return nil, fmt.Errorf("read the object's XML: %w", err)
		}
		if _, opens := token.(xml.StartElement); opens {
			tree, _, err := readInside(xmlDecoder)
			return tree, err
		}
	}
}

// readInside reads up to the end of the element that was opened last: the
// elements in it, nil for none, and the text.
func readInside(xmlDecoder *xml.Decoder) (flow.Template, string, error) {
	var tree flow.Template
	var text strings.Builder
	for {
		token, err := xmlDecoder.Token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, "", fmt.Errorf("read the object's XML: %w", err)
		}
		switch found := token.(type) {
		case xml.StartElement:
			inner, value, err := readInside(xmlDecoder)
			if err != nil {
				return nil, "", err
			}
			if inner != nil {
				value = ""
			}
			tree = append(tree, flow.Attribute{Name: found.Name.Local, Value: value, Vector: inner})
		case xml.CharData:
			text.Write(found)
		case xml.EndElement:
			return tree, text.String(), nil
		}
	}
}
