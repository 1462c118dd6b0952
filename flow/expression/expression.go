// Package expression parses and evaluates the conditions of elasticity policies, such as CPU > 80 && (MEMORY > 512 || !(LOAD < 2)), as
// OneFlow writes them.
package expression

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expression is an elasticity policy's condition as a tree.
type Expression struct {
	// operator is && or || between two parts, ! or ( before one, or one of == != >= > <= < between operands, whatever the text has for it.
	operator    string
	parts       []Expression
	left, right operand
}

// Evaluate reports whether the condition holds for the attributes' values, by name in upper case, and writes it with them. A condition that
// lacks a value does not hold.
func (e Expression) Evaluate(values map[string]float64) (holds bool, written string) {
	var text strings.Builder
	holds = e.evaluate(values, &text)
	return holds, text.String()
}

// evaluate appends the condition to one text: joining the parts' texts would copy a long one once for each part.
func (e *Expression) evaluate(values map[string]float64, text *strings.Builder) bool {
	switch e.operator {
	case "&&", "||":
		left := e.parts[0].evaluate(values, text)
		text.WriteString(" " + e.operator + " ")
		right := e.parts[1].evaluate(values, text)
		if e.operator == "&&" {
			return left && right
		}
		return left || right
	case "!":
		text.WriteByte('!')
		return !e.parts[0].evaluate(values, text)
	case "(":
		text.WriteByte('(')
		defer text.WriteByte(')')
		return e.parts[0].evaluate(values, text)
	}
	left, leftKnown, leftText := e.left.value(values)
	right, rightKnown, rightText := e.right.value(values)
	text.WriteString(leftText + " " + e.operator + " " + rightText)
	if !leftKnown || !rightKnown {
		return false
	}
	switch e.operator {
	case "==":
		return left == right
	case "!=":
		return left != right
	case ">=":
		return left >= right
	case ">":
		return left > right
	case "<=":
		return left <= right
	}
	return left < right
}

// FromTheRight reports whether OneFlow, which reads a condition from the right, takes it otherwise: A && B || C for A && (B || C), !A && B
// for !(A && B).
func (e Expression) FromTheRight() bool {
	if e.operator == "&&" || e.operator == "||" {
		last := e.parts[0]
		for last.operator == "||" || last.operator == "&&" && e.operator == "&&" {
			last = last.parts[1]
		}
		if last.operator == "!" || last.operator == "&&" {
			return true
		}
	}
	return slices.ContainsFunc(e.parts, Expression.FromTheRight)
}

// Attributes returns the names of the attributes in the condition, in upper case and each once.
func (e Expression) Attributes() []string {
	var names []string
	for rest := []Expression{e}; len(rest) > 0; {
		last := rest[len(rest)-1]
		rest = append(rest[:len(rest)-1], last.parts...)
		for _, side := range []operand{last.left, last.right} {
			if side.attribute != "" {
				names = append(names, strings.ToUpper(side.attribute))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type operand struct {
	// attribute is empty for a number.
	attribute string
	number    float64
}

// value returns the operand's value, and its text as OneFlow writes it: CPU[12.5], and CPU[--] without a value.
func (o operand) value(means map[string]float64) (value float64, known bool, text string) {
	if o.attribute == "" {
		return o.number, true, strconv.FormatFloat(o.number, 'f', -1, 64) // an exponent could not be read again
	}
	name := strings.ToUpper(o.attribute)
	mean, known := means[name]
	if !known {
		return 0, false, name + "[--]"
	}
	written := strconv.FormatFloat(mean, 'f', -1, 64)
	if !strings.Contains(written, ".") {
		written += ".0"
	}
	return mean, true, name + "[" + written + "]"
}

// MaxLength bounds a condition, in bytes.
const MaxLength = 4096

const maxDepth = 100

// Parse reads a condition: comparisons of numbers and attribute names, which may be quoted, with = == != <> >= > <= <,
// joined by && or & and by || or |, with ! and parentheses; "and" binds stronger than "or". Errors name the character.
func Parse(text string) (Expression, error) {
	if len(text) > MaxLength {
		return Expression{}, fmt.Errorf("it has more than %d characters", MaxLength)
	}
	p := parser{text: text}
	root, err := p.either()
	if err != nil {
		return Expression{}, err
	}
	if p.peek() != 0 {
		return Expression{}, p.expected("&&, || or the end")
	}
	return root, nil
}

type parser struct {
	text     string
	position int
	depth    int
}

// peek returns the next character that is not blank, 0 at the end.
func (p *parser) peek() byte {
	for p.position < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.position]) >= 0 {
		p.position++
	}
	if p.position == len(p.text) {
		return 0
	}
	return p.text[p.position]
}

func (p *parser) accept(symbols ...string) string {
	p.peek()
	for _, symbol := range symbols {
		if strings.HasPrefix(p.text[p.position:], symbol) {
			p.position += len(symbol)
			return symbol
		}
	}
	return ""
}

func (p *parser) expected(what string) error {
	found := "the end"
	if p.peek() != 0 {
		found = strconv.Quote(string([]rune(p.text[p.position:])[:1]))
	}
	return fmt.Errorf("at character %d: %s was expected, not %s", 1+len([]rune(p.text[:p.position])), what, found)
}

// either reads conditions with || between them, each of them with && within.
func (p *parser) either() (Expression, error) {
	return p.joined("||", "|", func() (Expression, error) { return p.joined("&&", "&", p.single) })
}

func (p *parser) joined(operator, short string, next func() (Expression, error)) (Expression, error) {
	left, err := next()
	for err == nil && p.accept(operator, short) != "" {
		var right Expression
		right, err = next()
		left = Expression{operator: operator, parts: []Expression{left, right}}
	}
	return left, err
}

func (p *parser) single() (Expression, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return Expression{}, fmt.Errorf("at character %d: nested deeper than %d levels", p.position+1, maxDepth)
	}
	if p.accept("!") != "" {
		inner, err := p.single()
		return Expression{operator: "!", parts: []Expression{inner}}, err
	}
	if p.accept("(") != "" {
		inner, err := p.either()
		if err == nil && p.accept(")") == "" {
			err = p.expected("a closing parenthesis")
		}
		return Expression{operator: "(", parts: []Expression{inner}}, err
	}
	left, err := p.operand()
	if err != nil {
		return Expression{}, err
	}
	operator := p.accept("==", "!=", "<>", ">=", "<=", "=", ">", "<")
	switch operator {
	case "":
		return Expression{}, p.expected("a comparison such as > or ==")
	case "=":
		operator = "=="
	case "<>":
		operator = "!="
	}
	right, err := p.operand()
	return Expression{left: left, operator: operator, right: right}, err
}

// operand reads a number, or an attribute's name, which may be in quotes.
func (p *parser) operand() (operand, error) {
	c := p.peek()
	start := p.position
	switch {
	case isLetter(c):
		return operand{attribute: p.word()}, nil
	case c == '"' || c == '\'':
		p.position++
		if p.position < len(p.text) && isLetter(p.text[p.position]) {
			if word := p.word(); strings.HasPrefix(p.text[p.position:], string(c)) {
				p.position++
				return operand{attribute: word}, nil
			}
		}
	case c == '-' || c == '.' || isDigit(c):
		p.position++
		for p.position < len(p.text) && (isDigit(p.text[p.position]) || p.text[p.position] == '.') {
			p.position++
		}
		if value, err := strconv.ParseFloat(p.text[start:p.position], 64); err == nil {
			return operand{number: value}, nil
		}
	}
	p.position = start
	return operand{}, p.expected("a number or an attribute's name")
}

func (p *parser) word() string {
	start := p.position
	for p.position < len(p.text) && (isLetter(p.text[p.position]) || isDigit(p.text[p.position]) || p.text[p.position] == '.') {
		p.position++
	}
	return p.text[start:p.position]
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
