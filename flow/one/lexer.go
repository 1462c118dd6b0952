package one

import (
	"fmt"
	"strings"
)

// CheckTemplate returns an error unless the text is valid in OpenNebula's template language. It follows oned's scanner (template_parser.l)
// and grammar (template_syntax.y), which are stricter than ParseTemplate: a value with a blank or "=" in it needs quotation marks. It
// allows commas between attributes, which oned refuses: Sunstone's form writes them, and WithoutCommas replaces them.
func CheckTemplate(text string) error {
	if wrong := Unstorable(text); wrong != "" {
		return fmt.Errorf("cannot be read: it %s", wrong)
	}
	if _, err := ParseTemplate(strings.ReplaceAll(text, "'", "")); err != nil { // to oned ' is an ordinary character
		return err
	}
	return walk(text, func(*lexer) {})
}

// WithoutCommas returns a template's text with line ends in place of the commas between attributes.
func WithoutCommas(text string) string {
	changed := []byte(text)
	_ = walk(text, func(l *lexer) {
		if l.token == tokenComma {
			changed[strings.LastIndexByte(l.text[:l.position], ',')] = '\n'
		}
	})
	return string(changed)
}

// HasAttribute reports whether oned finds an attribute of the name in a template's text, in any case of letters.
func HasAttribute(text, name string) (has bool) {
	_ = walk(text, func(l *lexer) { has = has || l.token == tokenName && strings.EqualFold(l.name, name) })
	return has
}

type token int

const (
	tokenEnd token = iota
	tokenName
	tokenEqual
	tokenEqualEmpty // "=" at the end of a line
	tokenComma
	tokenOpen
	tokenClose
	tokenValue
)

// lexer reads a template's text token by token, as oned does. It skips characters that fit nowhere.
type lexer struct {
	text     string
	position int
	token    token
	name     string // if the token is one
}

const (
	blanks        = " \t"
	blanksOrLines = blanks + "\n"
)

// walk reads a text's attributes, and calls visit at the name of each and at commas between them. The text is read as a line or several: the
// network's name is appended to a reservation, and a comment ends with its line.
func walk(text string, visit func(l *lexer)) error {
	l := &lexer{text: text + "\n"}
	for l.next(); l.token != tokenEnd; l.next() {
		visit(l)
		if l.token == tokenComma {
			continue
		}
		if err := l.attribute(); err != nil {
			return err
		}
	}
	return nil
}

// attribute reads the attribute whose name is the current token.
func (l *lexer) attribute() error {
	if l.token != tokenName {
		return l.wrong("NAME = value")
	}
	switch l.next(); l.token {
	case tokenEqualEmpty:
		return nil
	case tokenEqual:
	default:
		return l.wrong(`= or, if it belongs to the value before, quotation marks around that`)
	}
	switch l.nextValue(); l.token {
	case tokenValue:
		return nil
	case tokenOpen:
		return l.vector()
	}
	return l.wrong("a value")
}

// vector reads what follows the bracket of NAME = [ KEY = value, ... ].
func (l *lexer) vector() error {
	if l.next(); l.token == tokenClose {
		return nil
	}
	for {
		if l.token != tokenName {
			return l.wrong("KEY = value")
		}
		if l.next(); l.token != tokenEqual {
			return l.wrong("=")
		}
		if l.nextValue(); l.token != tokenValue {
			return l.wrong("a value")
		}
		switch l.next(); l.token {
		case tokenClose:
			return nil
		case tokenComma:
			l.next()
		default:
			return l.wrong(`, or ] or quotation marks around the value`)
		}
	}
}

// next reads a token other than a value.
func (l *lexer) next() {
	for l.position < len(l.text) {
		rest := l.text[l.position:]
		onLine, onLines := strings.TrimLeft(rest, blanks), strings.TrimLeft(rest, blanksOrLines)
		name := strings.TrimLeftFunc(rest, isNameRune)
		switch {
		case strings.HasPrefix(onLine, "#"):
			l.skipTo(onLine[strings.Index(onLine, "\n")+1:])
		case strings.HasPrefix(onLine, "="):
			behind := strings.TrimLeft(onLine[1:], blanks)
			if line, ends := strings.CutPrefix(behind, "\n"); ends {
				l.found(tokenEqualEmpty, line)
				return
			}
			l.found(tokenEqual, behind)
			return
		case strings.HasPrefix(onLines, ","):
			l.found(tokenComma, strings.TrimLeft(onLines[1:], blanksOrLines))
			return
		case strings.HasPrefix(onLines, "]"):
			l.found(tokenClose, strings.TrimLeft(onLines[1:], blanksOrLines))
			return
		case len(onLines) < len(rest):
			l.skipTo(onLines)
		case len(name) < len(rest):
			l.found(tokenName, name)
			l.name = rest[:len(rest)-len(name)]
			return
		default:
			l.position++
		}
	}
	l.token = tokenEnd
}

// nextValue reads a value, or the bracket that opens a vector.
func (l *lexer) nextValue() {
	for l.position < len(l.text) {
		rest := strings.TrimLeft(l.text[l.position:], blanks)
		if inside, opens := strings.CutPrefix(rest, "["); opens {
			l.found(tokenOpen, strings.TrimLeft(inside, blanksOrLines))
			return
		}
		size := strings.IndexAny(rest, "=#,[]"+blanksOrLines)
		if size < 0 {
			size = len(rest)
		}
		if size = max(size, quoted(rest)); size > 0 {
			l.found(tokenValue, rest[size:])
			return
		}
		l.skipTo(rest[min(1, len(rest)):])
	}
	l.token = tokenEnd
}

// quoted returns the length of the quoted value that a text begins with, 0 if there is none: a \" belongs to it unless no further "
// follows.
func quoted(text string) (size int) {
	if !strings.HasPrefix(text, `"`) {
		return 0
	}
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if size = i + 1; text[i-1] != '\\' || i == 1 {
			break
		}
	}
	return size
}

func isNameRune(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

func (l *lexer) found(found token, rest string) {
	l.token = found
	l.skipTo(rest)
}

func (l *lexer) skipTo(rest string) { l.position = len(l.text) - len(rest) }

func (l *lexer) wrong(expected string) error {
	line := 1 + strings.Count(strings.TrimRight(l.text[:l.position], blanksOrLines), "\n")
	return fmt.Errorf("cannot be read: line %d: %s was expected", line, expected)
}
