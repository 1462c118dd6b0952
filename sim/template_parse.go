package sim

import (
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// The limits of a template. oned's own are far above what services need.
const (
	maxAttributes  = 10_000
	maxVectorDepth = 2
)

// parseTemplate reads a template in either of oned's two forms: text
// (A = "b" and NIC = [ X = "y", Z = "w" ]) or XML with any root element.
func parseTemplate(text string) (template, error) {
	if text == "" {
		return nil, nil
	}
	parse := parseTextTemplate
	if text[0] == '<' {
		parse = parseXMLTemplate
	}
	parsed, err := parse(text)
	if err != nil {
		return nil, err
	}
	sortAttributes(parsed)
	return parsed, nil
}

// parseXMLTemplate reads <TEMPLATE><A>b</A><NIC><X>y</X></NIC></TEMPLATE>.
func parseXMLTemplate(text string) (template, error) {
	if !onexml.IsClean([]byte(text)) {
		return nil, malformedXML
	}
	r := onexml.New([]byte(text))
	r.Root()
	fits := true
	parsed := readAttribute(r, "", 0, &fits).Vector
	if r.Err() != nil || !fits {
		return nil, malformedXML
	}
	for i := range parsed {
		parsed[i].Name = attributeNameOf(parsed[i].Name)
	}
	return parsed, nil
}

// readAttribute reads the element that was begun last.
func readAttribute(r *onexml.Reader, name string, depth int, fits *bool) attribute {
	result := attribute{Name: strings.ToUpper(name)}
	text := r.Content(func(inner []byte) {
		if depth == maxVectorDepth || len(result.Vector) == maxAttributes {
			*fits = false
			return
		}
		result.IsVector = true
		result.Vector = append(result.Vector, readAttribute(r, string(inner), depth+1, fits))
	})
	if !result.IsVector {
		result.Value = text
	}
	sortAttributes(result.Vector)
	return result
}
