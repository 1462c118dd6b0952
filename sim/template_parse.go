package sim

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
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
	var (
		parsed template
		err    error
	)
	if text[0] == '<' {
		var plain bool
		if parsed, plain = plainTemplate(text); !plain {
			parsed, err = parseXMLTemplate(text)
		}
		for i := range parsed {
			if parsed[i].Name != "" {
				parsed[i].Name = attributeNameOf(parsed[i].Name)
			}
		}
		if err != nil {
			err = malformedXML
		}
	} else {
		parsed, err = parseTextTemplate(text)
	}
	if err != nil {
		return nil, err
	}
	sortAttributes(parsed)
	return parsed, nil
}

// parseXMLTemplate reads <TEMPLATE><A>b</A><NIC><X>y</X></NIC></TEMPLATE>.
func parseXMLTemplate(text string) (template, error) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("XML template: %w", err)
		}
		if _, isStart := token.(xml.StartElement); isStart {
			root, err := readXMLAttribute(decoder, "", 0)
			return root.Vector, err
		}
	}
}

// readXMLAttribute reads up to the end of the element whose start was read.
func readXMLAttribute(decoder *xml.Decoder, name string, depth int) (attribute, error) {
	if depth > maxVectorDepth {
		return attribute{}, fmt.Errorf("XML template: %s is nested too deeply", name)
	}
	result := attribute{Name: strings.ToUpper(name)}
	var text strings.Builder
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return attribute{}, errors.New("XML template: it ends in the middle")
		}
		if err != nil {
			return attribute{}, fmt.Errorf("XML template: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			inner, err := readXMLAttribute(decoder, t.Name.Local, depth+1)
			if err != nil {
				return attribute{}, err
			}
			result.IsVector = true
			result.Vector = append(result.Vector, inner)
			if len(result.Vector) > maxAttributes {
				return attribute{}, errors.New("XML template: too many attributes")
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			if !result.IsVector {
				result.Value = text.String()
			}
			sortAttributes(result.Vector)
			return result, nil
		}
	}
}
