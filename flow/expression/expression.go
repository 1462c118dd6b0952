// Package expression reads and evaluates the conditions of elasticity policies, such as
// CPU > 80 && (MEMORY > 512 || !(LOAD < 2)), as OneFlow writes them.
package expression

import (
	"fmt"
	"strconv"
	"strings"
)

// Expression is an elasticity policy's condition as a tree.
type Expression interface {
	// String writes the condition in one form, with all parentheses.
	String() string
	// Evaluate reports whether the condition holds for the attributes' values, by
	// name in upper case, and writes it with them.
	Evaluate(values map[string]float64) (holds bool, written string)
}

// Either holds if one of its sides does.
type Either struct{ Left, Right Expression }

// Both holds if both of its sides do.
type Both struct{ Left, Right Expression }

// Not holds if what is in it does not.
type Not struct{ Of Expression }

// Group is what was written in parentheses.
type Group struct{ Of Expression }

// Comparison compares two values.
type Comparison struct {
	Left Operand
	// Operator is one of == != >= > <= <, whatever was written for it.
	Operator string
	Right    Operand
}

// Operand is a number, or an attribute's value.
type Operand struct {
	// Attribute is empty for a number.
	Attribute string
	Number    float64
}

// String writes the condition in one form, with all parentheses.
func (e Either) String() string { return "(" + e.Left.String() + " || " + e.Right.String() + ")" }

// String writes the condition in one form, with all parentheses.
func (b Both) String() string { return "(" + b.Left.String() + " && " + b.Right.String() + ")" }

// String writes the condition in one form, with all parentheses.
func (n Not) String() string { return "!" + n.Of.String() }

// String writes the condition in one form, with all parentheses.
func (g Group) String() string { return g.Of.String() }

// String writes the condition in one form, with all parentheses.
func (c Comparison) String() string {
	return "(" + c.Left.String() + " " + c.Operator + " " + c.Right.String() + ")"
}

// String is the attribute's name or the number.
func (o Operand) String() string {
	if o.Attribute != "" {
		return o.Attribute
	}
	return strconv.FormatFloat(o.Number, 'f', -1, 64) // an exponent could not be read again
}

// maxDepth bounds how deep parentheses and negations are nested.
const maxDepth = 100

// Parse reads a condition: comparisons of numbers and attribute
// names, which may be quoted, with = == != <> >= > <= <, joined by && or & and by || or |, with ! and
// parentheses; "and" binds stronger than "or". Errors name the character.
func Parse(text string) (Expression, error) {
	p := parser{text: text}
	expression, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.peek() != 0 {
		return nil, p.expected("&&, || or the end")
	}
	return expression, nil
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

func (p *parser) either() (Expression, error) {
	left, err := p.both()
	for err == nil && p.take("||", "|") != "" {
		var right Expression
		right, err = p.both()
		left = Either{Left: left, Right: right}
	}
	return left, err
}

func (p *parser) both() (Expression, error) {
	left, err := p.single()
	for err == nil && p.take("&&", "&") != "" {
		var right Expression
		right, err = p.single()
		left = Both{Left: left, Right: right}
	}
	return left, err
}

// single reads a comparison, a negation or what is in parentheses.
func (p *parser) single() (Expression, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, fmt.Errorf("at character %d: nested deeper than %d levels", p.position+1, maxDepth)
	}
	if p.take("!") != "" {
		inner, err := p.single()
		return Not{Of: inner}, err
	}
	if p.take("(") == "" {
		return p.comparison()
	}
	inner, err := p.either()
	if err == nil && p.take(")") == "" {
		err = p.expected("a closing parenthesis")
	}
	return Group{Of: inner}, err
}

func (p *parser) comparison() (Expression, error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	operator := p.take("==", "!=", "<>", ">=", "<=", "=", ">", "<")
	if operator == "" {
		return nil, p.expected("a comparison such as > or ==")
	}
	right, err := p.operand()
	return Comparison{Left: left, Operator: canonical(operator), Right: right}, err
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

func (p *parser) operand() (Operand, error) {
	switch c := p.peek(); {
	case isLetter(c):
		return Operand{Attribute: p.word()}, nil
	case c == '"' || c == '\'':
		return p.quotedWord(string(c))
	case c == '-' || c == '.' || isDigit(c):
		return p.number()
	}
	return Operand{}, p.expected("a number or an attribute's name")
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
func (p *parser) quotedWord(quote string) (Operand, error) {
	start := p.position
	p.position++
	if p.position < len(p.text) && isLetter(p.text[p.position]) {
		if word := p.word(); strings.HasPrefix(p.text[p.position:], quote) {
			p.position++
			return Operand{Attribute: word}, nil
		}
	}
	p.position = start
	return Operand{}, p.expected("a number or an attribute's name")
}

func (p *parser) number() (Operand, error) {
	start := p.position
	p.position++
	for p.position < len(p.text) && (isDigit(p.text[p.position]) || p.text[p.position] == '.') {
		p.position++
	}
	value, err := strconv.ParseFloat(p.text[start:p.position], 64)
	if err != nil {
		p.position = start
		return Operand{}, p.expected("a number or an attribute's name")
	}
	return Operand{Number: value}, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// Attributes returns the names, in upper case, of the attributes in the condition.
func Attributes(expression Expression) []string {
	switch e := expression.(type) {
	case Either:
		return append(Attributes(e.Left), Attributes(e.Right)...)
	case Both:
		return append(Attributes(e.Left), Attributes(e.Right)...)
	case Not:
		return Attributes(e.Of)
	case Group:
		return Attributes(e.Of)
	case Comparison:
		var names []string
		for _, operand := range []Operand{e.Left, e.Right} {
			if operand.Attribute != "" {
				names = append(names, strings.ToUpper(operand.Attribute))
			}
		}
		return names
	}
	return nil
}

// Evaluate reports whether the condition holds, and writes it with its values.
func (e Either) Evaluate(means map[string]float64) (bool, string) {
	left, leftText := e.Left.Evaluate(means)
	right, rightText := e.Right.Evaluate(means)
	return left || right, leftText + " || " + rightText
}

// Evaluate reports whether the condition holds, and writes it with its values.
func (b Both) Evaluate(means map[string]float64) (bool, string) {
	left, leftText := b.Left.Evaluate(means)
	right, rightText := b.Right.Evaluate(means)
	return left && right, leftText + " && " + rightText
}

// Evaluate reports whether the condition holds, and writes it with its values.
func (n Not) Evaluate(means map[string]float64) (bool, string) {
	of, text := n.Of.Evaluate(means)
	return !of, "!" + text
}

// Evaluate reports whether the condition holds, and writes it with its values.
func (g Group) Evaluate(means map[string]float64) (bool, string) {
	of, text := g.Of.Evaluate(means)
	return of, "(" + text + ")"
}

// Evaluate is false where an attribute has no value.
func (c Comparison) Evaluate(means map[string]float64) (bool, string) {
	left, leftKnown, leftText := c.Left.value(means)
	right, rightKnown, rightText := c.Right.value(means)
	text := leftText + " " + c.Operator + " " + rightText
	if !leftKnown || !rightKnown {
		return false, text
	}
	switch c.Operator {
	case "==":
		return left == right, text
	case "!=":
		return left != right, text
	case ">=":
		return left >= right, text
	case ">":
		return left > right, text
	case "<=":
		return left <= right, text
	}
	return left < right, text
}

// value is written as OneFlow writes it: CPU[12.5], and CPU[--] without a value.
func (o Operand) value(means map[string]float64) (value float64, known bool, text string) {
	if o.Attribute == "" {
		return o.Number, true, o.String()
	}
	name := strings.ToUpper(o.Attribute)
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
