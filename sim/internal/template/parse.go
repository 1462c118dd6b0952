package template

import (
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// The limits of a template. oned's own are far above what services need.
const (
	maxAttributes  = 10_000
	maxVectorDepth = 2
)

// Error is oned's text about a template that it cannot read, as it stands in its refusal.
type Error string

func (e Error) Error() string { return string(e) }

const (
	malformedXML = Error("Parse error: XML Template malformed.")
	// abandoned is oned's text about a value that holds the end of a CDATA
	// section: it would break the XML that oned keeps.
	abandoned = Error("Parse error.")
	tooMany   = Error("Parse error: too many attributes.")
)

// Parse reads a template in either of oned's two forms: text
// (A = "b" and NIC = [ X = "y", Z = "w" ]) or XML with any root element.
func Parse(text string) (Template, error) {
	if text == "" {
		return nil, nil
	}
	parse := parseText
	if text[0] == '<' {
		parse = parseXML
	}
	parsed, err := parse(text)
	if err != nil {
		return nil, err
	}
	parsed.Sort()
	return parsed, nil
}

// parseXML reads <TEMPLATE><A>b</A><NIC><X>y</X></NIC></TEMPLATE>.
func parseXML(text string) (Template, error) {
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
		parsed[i].Name = mendedName(parsed[i].Name)
	}
	return parsed, nil
}

// readAttribute reads the element that was begun last.
func readAttribute(r *onexml.Reader, name string, depth int, fits *bool) Attribute {
	result := Attribute{Name: strings.ToUpper(name)}
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
	result.Vector.Sort()
	return result
}

// mendedName mends a name as oned does: capitals, and ONE_ before what is
// no name of an XML element.
func mendedName(name string) string {
	mended := strings.ToUpper(name)
	c := name[0]
	if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') || strings.HasPrefix(name, "XML") {
		return "ONE_" + mended
	}
	return mended
}
