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
			changed[l.position-1] = '\n'
		}
	})
	return string(changed)
}

// LastValue returns the value that oned reads for the last attribute of the name in a template's text, in any case of letters: empty for a
// vector. Of a text that oned refuses the attributes before the error count.
func LastValue(text, name string) (value string, found bool) {
	_ = walk(text, func(l *lexer) {
		if l.token != tokenComma && strings.EqualFold(l.name, name) {
			value, found = strings.ReplaceAll(l.value, `\"`, `"`), true
		}
	})
	return value, found
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

// lexer reads a template's text token by token, as oned does. It skips blanks and characters that fit nowhere.
type lexer struct {
	text     string
	position int
	token    token
	word     string // if the token is a name or a value
	name     string // of the attribute
	value    string // of the attribute, as it is written; empty for a vector
}

// The scanner's character classes. Arrays halve the time that long values take.
var (
	inName   = class("_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	endsBare = class("=#,[] \t\n")
)

func class(characters string) (in [256]bool) {
	for _, c := range []byte(characters) {
		in[c] = true
	}
	return in
}

// walk reads a text's attributes, and calls visit behind each and behind commas between them.
func walk(text string, visit func(l *lexer)) error {
	l := &lexer{text: text}
	for l.next(); l.token != tokenEnd; l.next() {
		if l.token != tokenComma {
			if err := l.attribute(); err != nil {
				return err
			}
		}
		visit(l)
	}
	return nil
}

// attribute reads the attribute whose name is the current token.
func (l *lexer) attribute() error {
	if l.token != tokenName {
		return l.wrong("NAME = value")
	}
	l.name, l.value = l.word, ""
	switch l.next(); l.token {
	case tokenEqualEmpty:
		return nil
	case tokenEqual:
	default:
		return l.wrong(`= or, if it belongs to the value before, quotation marks around that`)
	}
	switch l.nextValue(); l.token {
	case tokenValue:
		l.value = l.word
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

// next reads a token other than a value. The text's end ends a line.
func (l *lexer) next() {
	for l.position < len(l.text) {
		switch c := l.text[l.position]; {
		case inName[c]:
			end := l.position + 1
			for end < len(l.text) && inName[l.text[end]] {
				end++
			}
			l.found(tokenName, end)
			return
		case c == '=':
			end := len(l.text) - len(strings.TrimLeft(l.text[l.position+1:], " \t"))
			if l.found(tokenEqual, end); end == len(l.text) || l.text[end] == '\n' {
				l.token = tokenEqualEmpty
			}
			return
		case c == ',':
			l.found(tokenComma, l.position+1)
			return
		case c == ']':
			l.found(tokenClose, l.position+1)
			return
		case c == '#':
			comment, _, _ := strings.Cut(l.text[l.position:], "\n")
			l.position += len(comment)
		default:
			l.position++
		}
	}
	l.token = tokenEnd
}

// nextValue reads a value, or the bracket that opens a vector.
func (l *lexer) nextValue() {
	for l.position < len(l.text) && l.text[l.position] != '[' && endsBare[l.text[l.position]] {
		l.position++
	}
	switch rest := l.text[l.position:]; {
	case rest == "":
		l.token = tokenEnd
	case rest[0] == '[':
		l.found(tokenOpen, l.position+1)
	default:
		size, bare := quoted(rest), 0
		if size == 0 || size < len(rest) && !endsBare[rest[size]] {
			for bare < len(rest) && !endsBare[rest[bare]] {
				bare++
			}
		}
		l.found(tokenValue, l.position+max(size, bare)) // the longer one counts
		if size > bare {
			l.word = l.word[1 : size-1]
		}
	}
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

func (l *lexer) found(found token, end int) {
	l.token, l.word, l.position = found, l.text[l.position:end], end
}

func (l *lexer) wrong(what string) error {
	return expected(what, strings.TrimRight(l.text[:l.position], " \t\n"))
}
