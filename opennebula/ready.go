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
		value, found = readyInXML(template)
	} else {
		value, found = readyInText(template)
	}
	if !found {
		return nil
	}
	ready := isYes(value)
	return &ready
}

// readyInXML looks for READY directly under the root, until the XML breaks.
func readyInXML(template string) (value string, found bool) {
	r := onexml.New([]byte(template))
	r.Root()
	r.Each(func(name []byte) {
		if strings.EqualFold(string(name), "READY") {
			value, found = r.String(), true
		}
	})
	return value, found
}

// readyInText reads OpenNebula's own syntax: NAME = value, one a line, where a
// value is a word, a text in quotes that may span lines, or a vector in
// brackets. The last READY counts.
func readyInText(template string) (value string, found bool) {
	rest := template
	for {
		rest = skipBlank(rest)
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

// skipBlank skips white space and comments.
func skipBlank(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\r\n,")
		if !strings.HasPrefix(text, "#") {
			return text
		}
		_, text, _ = strings.Cut(text, "\n")
	}
}

// cutValue takes a value from the start of a text.
func cutValue(text string) (value, rest string) {
	switch {
	case strings.HasPrefix(text, `"`):
		return cutQuoted(text[1:])
	case strings.HasPrefix(text, "["):
		return "", skipVector(text[1:])
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

func skipVector(text string) (rest string) {
	for text != "" {
		c := text[0]
		text = text[1:]
		switch c {
		case ']':
			return text
		case '"':
			_, text = cutQuoted(text)
		}
	}
	return ""
}
