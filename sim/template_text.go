package sim

import (
	"slices"
	"strconv"
	"strings"
)

// templateError is oned's text about a template that it cannot read, as it
// stands in its refusal.
type templateError string

func (e templateError) Error() string { return string(e) }

const (
	malformedXML = templateError("Parse error: XML Template malformed.")
	// abandoned is oned's text about a value that holds the end of a CDATA
	// section: it would break the XML that oned keeps.
	abandoned = templateError("Parse error.")
)

// textToken is a kind of token of oned's template syntax, by the name that its
// error messages give it.
type textToken string

const (
	tokenEnd          textToken = "$end"
	tokenEqual        textToken = "EQUAL"
	tokenComma        textToken = "COMMA"
	tokenOpen         textToken = "OBRACKET"
	tokenShut         textToken = "CBRACKET"
	tokenEqualNothing textToken = "EQUAL_EMPTY"
	tokenCDATA        textToken = "CCDATA"
	tokenString       textToken = "STRING"
	tokenVariable     textToken = "VARIABLE"
)

// textScanner cuts a template into tokens as oned's scanner does: the longest
// match wins, and what matches nothing is passed over in silence.
type textScanner struct {
	text string
	at   int
	// value: the next token is the value behind an equals sign.
	value bool
	// line counts from 0; the columns count through all lines.
	line, first, last int
	// token is the last one that was read, with its text.
	token  textToken
	lexeme string
}

func newTextScanner(text string) *textScanner { return &textScanner{text: text, first: 1, last: 1} }

// next reads a token.
func (s *textScanner) next() textToken {
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

// match returns the length of the next token and its kind, "" for what is
// passed over.
func (s *textScanner) match() (length int, token textToken) {
	rest := s.text[s.at:]
	if s.value {
		return matchValue(rest)
	}
	blanks, lines := leading(rest, isBlank), leading(rest, isSpace)
	behind, behindLines := rest[blanks:], rest[lines:]
	switch {
	case strings.HasPrefix(behind, "#") && strings.Contains(behind, "\n"):
		return blanks + strings.IndexByte(behind, '\n') + 1, ""
	case strings.HasPrefix(behind, "="):
		blanks++
		blanks += leading(rest[blanks:], isBlank)
		if strings.HasPrefix(rest[blanks:], "\n") {
			return blanks + 1, tokenEqualNothing
		}
		return blanks, tokenEqual
	case strings.HasPrefix(behindLines, ","):
		return lines + 1 + leading(rest[lines+1:], isSpace), tokenComma
	case strings.HasPrefix(behindLines, "]"):
		return lines + 1 + leading(rest[lines+1:], isSpace), tokenShut
	case lines > 0:
		return lines, ""
	}
	if name := leading(rest, isNameByte); name > 0 {
		return name, tokenVariable
	}
	return 1, ""
}

// matchValue matches what stands behind an equals sign.
func matchValue(rest string) (length int, token textToken) {
	if blanks := leading(rest, isBlank); strings.HasPrefix(rest[blanks:], "[") {
		length, token = blanks+1+leading(rest[blanks+1:], isSpace), tokenOpen
	}
	line, _, _ := strings.Cut(rest, "\n")
	if strings.Contains(line, "]]>") && len(line) > length {
		length, token = len(line), tokenCDATA
	}
	if quoted := quotedLength(rest); quoted > length {
		length, token = quoted, tokenString
	}
	if bare := leading(rest, isValueByte); bare > length {
		length, token = bare, tokenString
	}
	if token == "" {
		return 1, ""
	}
	return length, token
}

// quotedLength is the length of a quoted value, 0 without one. A quote behind
// a backslash ends it only where no other quote does.
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

func leading(text string, is func(c byte) bool) int {
	n := 0
	for n < len(text) && is(text[n]) {
		n++
	}
	return n
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isSpace(c byte) bool { return isBlank(c) || c == '\n' }

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func isValueByte(c byte) bool { return !isSpace(c) && !strings.ContainsRune("=#,[]", rune(c)) }

// expect reads a token, which must be one of those given.
func (s *textScanner) expect(wanted ...textToken) error {
	if slices.Contains(wanted, s.next()) {
		return nil
	}
	return s.unexpected(wanted...)
}

// unexpected is oned's text about the token that was read last.
func (s *textScanner) unexpected(wanted ...textToken) error {
	names := make([]string, len(wanted))
	for i, one := range wanted {
		names[i] = string(one)
	}
	return templateError("Parse error: syntax error, unexpected " + string(s.token) + ", expecting " + strings.Join(names, " or ") +
		" at line " + strconv.Itoa(s.line) + ", columns " + strconv.Itoa(s.first) + ":" + strconv.Itoa(s.last))
}

// parseTextTemplate reads oned's own template syntax.
func parseTextTemplate(text string) (template, error) {
	s := newTextScanner(text)
	var parsed template
	for s.next() != tokenEnd {
		if s.token != tokenVariable {
			return nil, s.unexpected(tokenEnd)
		}
		entry, err := s.attribute(attributeNameOf(s.lexeme))
		if err != nil {
			return nil, err
		}
		if parsed = append(parsed, entry); len(parsed) > maxAttributes {
			return nil, templateError("Parse error: too many attributes.")
		}
	}
	return parsed, nil
}

// attribute reads what stands behind a name.
func (s *textScanner) attribute(name string) (attribute, error) {
	if err := s.expect(tokenEqual, tokenEqualNothing); err != nil || s.token == tokenEqualNothing {
		return single(name, ""), err
	}
	if err := s.expect(tokenOpen, tokenCDATA, tokenString); err != nil {
		return attribute{}, err
	}
	switch s.token {
	case tokenCDATA:
		return attribute{}, abandoned
	case tokenOpen:
		return s.vector(name)
	}
	return single(name, s.stringValue()), nil
}

// vector reads the attributes between brackets; of two with one name the first
// one counts.
func (s *textScanner) vector(name string) (attribute, error) {
	var inner template
	wanted := []textToken{tokenShut, tokenVariable}
	for {
		if err := s.expect(wanted...); err != nil {
			return attribute{}, err
		}
		if s.token == tokenShut {
			return vector(name, inner...), nil
		}
		key := strings.ToUpper(s.lexeme)
		if err := s.expect(tokenEqual); err != nil {
			return attribute{}, err
		}
		if err := s.expect(tokenString); err != nil {
			return attribute{}, err
		}
		if !inner.has(key) {
			inner = append(inner, single(key, s.stringValue()))
		}
		if err := s.expect(tokenComma, tokenShut); err != nil {
			return attribute{}, err
		}
		if s.token == tokenShut {
			return vector(name, inner...), nil
		}
		wanted = []textToken{tokenVariable}
		if len(inner) > maxAttributes {
			return attribute{}, templateError("Parse error: too many attributes.")
		}
	}
}

// stringValue is the value of the string that was read last.
func (s *textScanner) stringValue() string {
	if strings.HasPrefix(s.lexeme, `"`) && quotedLength(s.lexeme) == len(s.lexeme) {
		return strings.ReplaceAll(s.lexeme[1:len(s.lexeme)-1], `\"`, `"`)
	}
	return s.lexeme
}

// attributeNameOf mends a name as oned does: capitals, and ONE_ before what is
// no name of an XML element.
func attributeNameOf(name string) string {
	mended := strings.ToUpper(name)
	c := name[0]
	if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') || strings.HasPrefix(name, "XML") {
		return "ONE_" + mended
	}
	return mended
}
