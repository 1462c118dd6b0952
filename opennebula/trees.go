package opennebula

import (
	"fmt"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Tree is the VM template's attributes.
func (t VMTemplate) Tree() (one.Template, error) {
	tree, err := readTree([]byte("<TEMPLATE>" + string(t.Template) + "</TEMPLATE>"))
	if err != nil {
		return nil, fmt.Errorf("read VM template %d: %w", t.ID, err)
	}
	return tree, nil
}

// readTree reads what is inside an XML element.
func readTree(text []byte) (one.Template, error) {
	r := onexml.New(text)
	r.Root()
	tree, _ := readInside(r)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read the object's XML: %w", err)
	}
	return tree, nil
}

// readInside reads the element that was begun last: the elements in it, nil for
// none, and the text.
func readInside(r *onexml.Reader) (tree one.Template, text string) {
	text = r.Content(func(name []byte) {
		attribute := one.Attribute{Name: string(name)}
		if attribute.Vector, attribute.Value = readInside(r); attribute.Vector != nil {
			attribute.Value = ""
		}
		tree = append(tree, attribute)
	})
	return tree, text
}
