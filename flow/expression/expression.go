// Package expression reads and evaluates the conditions of elasticity policies, such as
// CPU > 80 && (MEMORY > 512 || !(LOAD < 2)), as OneFlow writes them.
package expression

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Expression is an elasticity policy's condition as a tree.
type Expression struct{ root node }

// node is a part of a condition. Each appends itself to one text: joining the texts of
// parts would copy a long condition once for each of its parts.
type node interface {
	// evaluate reports whether the condition holds, and appends it with its values.
	evaluate(values map[string]float64, text *strings.Builder) bool
	// names appends the attributes in upper case.
	names(found []string) []string
}

// Evaluate reports whether the condition holds for the attributes' values, by name in
// upper case, and writes it with them. One that lacks a value does not hold.
func (e Expression) Evaluate(values map[string]float64) (holds bool, written string) {
	var text strings.Builder
	holds = e.root.evaluate(values, &text)
	return holds, text.String()
}

// Attributes returns the names, in upper case and each once, of the attributes in the
// condition.
func (e Expression) Attributes() []string {
	names := e.root.names(nil)
	slices.Sort(names)
	return slices.Compact(names)
}

// joined is two conditions with && or || between them.
type joined struct {
	left, right node
	both        bool
}

func (j joined) operator() string {
	if j.both {
		return " && "
	}
	return " || "
}

func (j joined) evaluate(values map[string]float64, text *strings.Builder) bool {
	left := j.left.evaluate(values, text)
	text.WriteString(j.operator())
	right := j.right.evaluate(values, text)
	if j.both {
		return left && right
	}
	return left || right
}

func (j joined) names(found []string) []string { return j.right.names(j.left.names(found)) }

// negated holds if what is in it does not.
type negated struct{ of node }

func (n negated) evaluate(values map[string]float64, text *strings.Builder) bool {
	text.WriteByte('!')
	return !n.of.evaluate(values, text)
}

func (n negated) names(found []string) []string { return n.of.names(found) }

// group is what was written in parentheses.
type group struct{ of node }

func (g group) evaluate(values map[string]float64, text *strings.Builder) bool {
	text.WriteByte('(')
	defer text.WriteByte(')')
	return g.of.evaluate(values, text)
}

func (g group) names(found []string) []string { return g.of.names(found) }

// comparison compares two values.
type comparison struct {
	left operand
	// operator is one of == != >= > <= <, whatever was written for it.
	operator string
	right    operand
}

// evaluate is false where an attribute has no value.
func (c comparison) evaluate(values map[string]float64, text *strings.Builder) bool {
	left, leftKnown, leftText := c.left.value(values)
	right, rightKnown, rightText := c.right.value(values)
	text.WriteString(leftText + " " + c.operator + " " + rightText)
	if !leftKnown || !rightKnown {
		return false
	}
	switch c.operator {
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

func (c comparison) names(found []string) []string {
	for _, side := range []operand{c.left, c.right} {
		if side.attribute != "" {
			found = append(found, strings.ToUpper(side.attribute))
		}
	}
	return found
}

// operand is a number, or an attribute's value.
type operand struct {
	// attribute is empty for a number.
	attribute string
	number    float64
}

// String is the attribute's name or the number.
func (o operand) String() string {
	if o.attribute != "" {
		return o.attribute
	}
	return strconv.FormatFloat(o.number, 'f', -1, 64) // an exponent could not be read again
}

// value is written as OneFlow writes it: CPU[12.5], and CPU[--] without a value.
func (o operand) value(means map[string]float64) (value float64, known bool, text string) {
	if o.attribute == "" {
		return o.number, true, o.String()
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

// maxDepth bounds how deep parentheses and negations are nested.
const maxDepth = 100

// Parse reads a condition: comparisons of numbers and attribute
// names, which may be quoted, with = == != <> >= > <= <, joined by && or & and by || or |, with ! and
// parentheses; "and" binds stronger than "or". Errors name the character.
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
	return Expression{root}, nil
}

type parser struct {
	text     string
	position int
	depth    int
}

// peek is the next character that is not blank, 0 at the end.
func (p *parser) peek() byte {
	for p.position < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.position]) >= 0 {
		p.position++
	}
	if p.position == len(p.text) {
		return 0
	}
	return p.text[p.position]
}

// take moves past the first of the symbols that comes next.
func (p *parser) take(symbols ...string) string {
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

func (p *parser) either() (node, error) {
	left, err := p.both()
	for err == nil && p.take("||", "|") != "" {
		var right node
		right, err = p.both()
		left = joined{left: left, right: right}
	}
	return left, err
}

func (p *parser) both() (node, error) {
	left, err := p.single()
	for err == nil && p.take("&&", "&") != "" {
		var right node
		right, err = p.single()
		left = joined{left: left, right: right, both: true}
	}
	return left, err
}

// single reads a comparison, a negation or what is in parentheses.
func (p *parser) single() (node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, fmt.Errorf("at character %d: nested deeper than %d levels", p.position+1, maxDepth)
	}
	if p.take("!") != "" {
		inner, err := p.single()
		return negated{inner}, err
	}
	if p.take("(") == "" {
		return p.comparison()
	}
	inner, err := p.either()
	if err == nil && p.take(")") == "" {
		err = p.expected("a closing parenthesis")
	}
	return group{inner}, err
}

func (p *parser) comparison() (node, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	operator := p.take("==", "!=", "<>", ">=", "<=", "=", ">", "<")
	if operator == "" {
		return nil, p.expected("a comparison such as > or ==")
	}
	right, err := p.operand()
	return comparison{left: left, operator: canonical(operator), right: right}, err
}

func canonical(operator string) string {
	switch operator {
	case "=":
		return "=="
	case "<>":
		return "!="
	}
	return operator
}

func (p *parser) operand() (operand, error) {
	switch c := p.peek(); {
	case isLetter(c):
		return operand{attribute: p.word()}, nil
	case c == '"' || c == '\'':
		return p.quotedWord(string(c))
	case c == '-' || c == '.' || isDigit(c):
		return p.number()
	}
	return operand{}, p.expected("a number or an attribute's name")
}

// word reads an attribute's name: letters, digits, _ and, inside, dots.
func (p *parser) word() string {
	start := p.position
	for p.position < len(p.text) && (isLetter(p.text[p.position]) || isDigit(p.text[p.position]) || p.text[p.position] == '.') {
		p.position++
	}
	return p.text[start:p.position]
}

// quotedWord reads a name in quotes, as OneFlow's grammar has them.
func (p *parser) quotedWord(quote string) (operand, error) {
	start := p.position
	p.position++
	if p.position < len(p.text) && isLetter(p.text[p.position]) {
		if word := p.word(); strings.HasPrefix(p.text[p.position:], quote) {
			p.position++
			return operand{attribute: word}, nil
		}
	}
	p.position = start
	return operand{}, p.expected("a number or an attribute's name")
}

func (p *parser) number() (operand, error) {
	start := p.position
	p.position++
	for p.position < len(p.text) && (isDigit(p.text[p.position]) || p.text[p.position] == '.') {
		p.position++
	}
	value, err := strconv.ParseFloat(p.text[start:p.position], 64)
	if err != nil {
		p.position = start
		return operand{}, p.expected("a number or an attribute's name")
	}
	return operand{number: value}, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
