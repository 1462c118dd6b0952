package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// The limits of a template. oned's own are far above what services need.
const (
	maxAttributes  = 10_000
	maxVectorDepth = 2
)

// Error is oned's text about an unreadable template, as in its refusal.
type Error string

func (e Error) Error() string { return string(e) }

const (
	malformedXML = Error("Parse error: XML Template malformed.")
	// abandoned is oned's text about a value that holds the end of a CDATA section: it would break oned's own XML.
	abandoned = Error("Parse error.")
	tooMany   = Error("Parse error: too many attributes.")
)

// Parse reads a template in either of oned's two forms: text (A = "b" and NIC = [ X = "y", Z = "w" ]) or XML with any root element.
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

// readAttribute reads the element whose start was read last.
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

// mendedName returns a name as oned corrects it: in capitals, and with ONE_ in front of a text that is no name of an XML
// element.
func mendedName(name string) string {
	mended := strings.ToUpper(name)
	c := name[0]
	if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') || strings.HasPrefix(name, "XML") {
		return "ONE_" + mended
	}
	return mended
}

// The tokens of oned's template syntax, by their names in its error messages.
const (
	tokenEnd          = "$end"
	tokenEqual        = "EQUAL"
	tokenComma        = "COMMA"
	tokenOpen         = "OBRACKET"
	tokenShut         = "CBRACKET"
	tokenEqualNothing = "EQUAL_EMPTY"
	tokenCDATA        = "CCDATA"
	tokenString       = "STRING"
	tokenVariable     = "VARIABLE"
)

// textScanner splits a template into tokens as oned's scanner does: the longest match wins, and text that matches nothing
// is skipped silently.
type textScanner struct {
	text              string
	at                int
	value             bool   // the next token is the value after an equals sign
	line, first, last int    // line counts from 0; the columns count through all lines
	token, lexeme     string // token is the last token read, with its text
}

func (s *textScanner) next() string {
	for s.at < len(s.text) {
		length, token := s.match()
		s.lexeme = s.text[s.at : s.at+length]
		s.at += length
		s.line += strings.Count(s.lexeme, "\n")
		s.first, s.last = s.last, s.last+length
		if token != "" {
			s.value = token == tokenEqual
			s.token = token
			return token
		}
	}
	s.token, s.lexeme = tokenEnd, ""
	return tokenEnd
}

// match returns the length of the next token and its kind, "" for skipped text.
func (s *textScanner) match() (length int, token string) {
	rest := s.text[s.at:]
	if s.value {
		return matchValue(rest)
	}
	blanks, lines := leading(rest, blank), leading(rest, space)
	behind, behindLines := rest[blanks:], rest[lines:]
	switch {
	case strings.HasPrefix(behind, "#") && strings.Contains(behind, "\n"):
		return blanks + strings.IndexByte(behind, '\n') + 1, ""
	case strings.HasPrefix(behind, "="):
		blanks++
		blanks += leading(rest[blanks:], blank)
		if strings.HasPrefix(rest[blanks:], "\n") {
			return blanks + 1, tokenEqualNothing
		}
		return blanks, tokenEqual
	case strings.HasPrefix(behindLines, ","):
		return lines + 1 + leading(rest[lines+1:], space), tokenComma
	case strings.HasPrefix(behindLines, "]"):
		return lines + 1 + leading(rest[lines+1:], space), tokenShut
	case lines > 0:
		return lines, ""
	}
	if name := leading(rest, nameBytes); name > 0 {
		return name, tokenVariable
	}
	return 1, ""
}

// matchValue matches the text after an equals sign.
func matchValue(rest string) (length int, token string) {
	if blanks := leading(rest, blank); strings.HasPrefix(rest[blanks:], "[") {
		length, token = blanks+1+leading(rest[blanks+1:], space), tokenOpen
	}
	line, _, _ := strings.Cut(rest, "\n")
	if strings.Contains(line, "]]>") && len(line) > length {
		length, token = len(line), tokenCDATA
	}
	if quoted := quotedLength(rest); quoted > length {
		length, token = quoted, tokenString
	}
	bare := strings.IndexAny(rest, space+"=#,[]")
	if bare < 0 {
		bare = len(rest)
	}
	if bare > length {
		length, token = bare, tokenString
	}
	if token == "" {
		return 1, ""
	}
	return length, token
}

// quotedLength returns the length of a quoted value, 0 without one. A quote after a backslash ends it only if no other
// quote does.
func quotedLength(rest string) (length int) {
	if !strings.HasPrefix(rest, `"`) {
		return 0
	}
	for i := 1; i < len(rest); i++ {
		if rest[i] != '"' {
			continue
		}
		length = i + 1
		if rest[i-1] != '\\' || i == 1 {
			return length
		}
	}
	return length
}

const (
	blank     = " \t"
	space     = blank + "\n"
	nameBytes = "_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// leading returns how many bytes of a set the text begins with.
func leading(text, set string) int { return len(text) - len(strings.TrimLeft(text, set)) }

// expect reads a token, which must be one of the wanted ones.
func (s *textScanner) expect(wanted ...string) error {
	if slices.Contains(wanted, s.next()) {
		return nil
	}
	return s.unexpected(wanted...)
}

// unexpected returns oned's text about the token that was read last.
func (s *textScanner) unexpected(wanted ...string) error {
	return Error(fmt.Sprintf("Parse error: syntax error, unexpected %s, expecting %s at line %d, columns %d:%d",
		s.token, strings.Join(wanted, " or "), s.line, s.first, s.last))
}

// parseText reads oned's own template syntax.
func parseText(text string) (Template, error) {
	s := &textScanner{text: text, first: 1, last: 1}
	var parsed Template
	for s.next() != tokenEnd {
		if s.token != tokenVariable {
			return nil, s.unexpected(tokenEnd)
		}
		entry, err := s.attribute(mendedName(s.lexeme))
		if err != nil {
			return nil, err
		}
		if parsed = append(parsed, entry); len(parsed) > maxAttributes {
			return nil, tooMany
		}
	}
	return parsed, nil
}

// attribute reads the text after a name.
func (s *textScanner) attribute(name string) (Attribute, error) {
	if err := s.expect(tokenEqual, tokenEqualNothing); err != nil || s.token == tokenEqualNothing {
		return Attribute{Name: name}, err
	}
	if err := s.expect(tokenOpen, tokenCDATA, tokenString); err != nil {
		return Attribute{}, err
	}
	switch s.token {
	case tokenCDATA:
		return Attribute{}, abandoned
	case tokenOpen:
		return s.vector(name)
	}
	return Attribute{Name: name, Value: s.stringValue()}, nil
}

// vector reads the attributes between brackets; of two with the same name the first counts.
func (s *textScanner) vector(name string) (Attribute, error) {
	var inner Template
	wanted := []string{tokenShut, tokenVariable}
	for {
		if err := s.expect(wanted...); err != nil || s.token == tokenShut {
			return Vector(name, inner...), err
		}
		key := strings.ToUpper(s.lexeme)
		err := s.expect(tokenEqual)
		if err == nil {
			err = s.expect(tokenString)
		}
		if err == nil {
			if !inner.Has(key) {
				inner = append(inner, Attribute{Name: key, Value: s.stringValue()})
			}
			err = s.expect(tokenComma, tokenShut)
		}
		if err != nil || s.token == tokenShut {
			return Vector(name, inner...), err
		}
		if len(inner) > maxAttributes {
			return Attribute{}, tooMany
		}
		wanted = []string{tokenVariable}
	}
}

// stringValue returns the value of the string that was read last.
func (s *textScanner) stringValue() string {
	if strings.HasPrefix(s.lexeme, `"`) && quotedLength(s.lexeme) == len(s.lexeme) {
		return strings.ReplaceAll(s.lexeme[1:len(s.lexeme)-1], `\"`, `"`)
	}
	return s.lexeme
}
