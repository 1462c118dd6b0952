package opennebula

import (
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// isYes reads a template's yes: in any case, with blanks and quotes around it.
func isYes(value string) bool {
	return strings.EqualFold(strings.Trim(value, " \t\r\n\"'"), "YES")
}

// readyIn is what a template text writes into READY: nil where it does not
// mention it. Templates come as text (READY = "YES") and as XML.
func readyIn(template string) *bool {
	var value string
	var found bool
	if strings.HasPrefix(strings.TrimSpace(template), "<") {
		// It stands directly under the root; what comes before a break in the XML counts.
		r := onexml.New([]byte(template))
		r.Root()
		r.Each(func(name []byte) {
			if strings.EqualFold(string(name), "READY") {
				value, found = r.String(), true
			}
		})
	} else {
		value, found = readyInText(template)
	}
	if !found {
		return nil
	}
	ready := isYes(value)
	return &ready
}

// readyInText reads OpenNebula's own syntax: NAME = value, one a line, where a
// value is a word, a text in quotes that may span lines, or a vector in
// brackets. The last READY counts.
func readyInText(template string) (value string, found bool) {
	rest := template
	for {
		rest = strings.TrimLeft(rest, " \t\r\n,")
		if strings.HasPrefix(rest, "#") {
			_, rest, _ = strings.Cut(rest, "\n")
			continue
		}
		end := strings.IndexAny(rest, "=\n")
		if end < 0 {
			return value, found
		}
		name := strings.TrimSpace(rest[:end])
		isLine := rest[end] == '\n'
		rest = rest[end+1:]
		if isLine {
			continue
		}
		var text string
		text, rest = cutValue(strings.TrimLeft(rest, " \t"))
		if strings.EqualFold(name, "READY") {
			value, found = text, true
		}
	}
}

func cutValue(text string) (value, rest string) {
	switch {
	case strings.HasPrefix(text, `"`):
		return cutQuoted(text[1:])
	case strings.HasPrefix(text, "["):
		for rest = text[1:]; rest != ""; {
			c := rest[0]
			rest = rest[1:]
			switch c {
			case ']':
				return "", rest
			case '"':
				_, rest = cutQuoted(rest)
			}
		}
		return "", ""
	}
	value, rest, _ = strings.Cut(text, "\n")
	return value, rest
}

func cutQuoted(text string) (value, rest string) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}
