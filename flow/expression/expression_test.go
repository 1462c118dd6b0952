package expression

import (
	"math"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/effort"
)

// written is a condition in one form, with all parentheses.
func written(e Expression) string {
	side := func(o operand) string {
		if o.attribute != "" {
			return o.attribute
		}
		_, _, text := o.value(nil)
		return text
	}
	switch e.operator {
	case "&&", "||":
		return "(" + written(e.parts[0]) + " " + e.operator + " " + written(e.parts[1]) + ")"
	case "!":
		return "!" + written(e.parts[0])
	case "(":
		return written(e.parts[0])
	}
	return "(" + side(e.left) + " " + e.operator + " " + side(e.right) + ")"
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"CPU>10":    "(CPU > 10)",
		" CPU = 1":  "(CPU == 1)",
		"CPU <> .5": "(CPU != 0.5)",
		"(CPU > 80.5 && MEMORY != 3) || !(A < -2)": "(((CPU > 80.5) && (MEMORY != 3)) || !(A < -2))",
		"A>1|B>=2&C<=3":     "((A > 1) || ((B >= 2) && (C <= 3)))",
		"A>1 && B>2 && C>3": "(((A > 1) && (B > 2)) && (C > 3))",
		"!!A==B":            "!!(A == B)",
		"3 < GUEST.LOAD_1":  "(3 < GUEST.LOAD_1)",
		"((A==1))":          "(A == 1)",
	} {
		expression, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := written(expression); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
		if again, err := Parse(written(expression)); err != nil || written(again) != want {
			t.Errorf("%s is not read as itself: %v, %v", want, again, err)
		}
	}
}

// OneFlow reads A && B || C as A && (B || C), and !A && B as !(A && B).
func TestFromTheRight(t *testing.T) {
	for text, want := range map[string]bool{
		"A>1": false, "A>1 && B>1 && C>1": false, "A>1 || B>1 && C>1": false, "(A>1 && B>1) || C>1": false, "A>1 && !B>1": false, "(!A>1) && B>1": false, "!A>1": false,
		"A>1 && B>1 || C>1": true, "A>1 || B>1 && C>1 || D>1": true, "!A>1 && B>1": true, "A>1 || !B>1 || C>1": true, "!(A>1) || B>1": true, "A>1 && (!B>1 && C>1)": true,
		"A>1 && B>1 && C>1 || D>1": true,
	} {
		if expression, err := Parse(text); err != nil || expression.FromTheRight() != want {
			t.Errorf("%s: %t (%v), want %t", text, expression.FromTheRight(), err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, message := range map[string]string{
		"":              `at character 1: a number or an attribute's name was expected, not the end`,
		"CPU":           `at character 4: a comparison such as > or == was expected, not the end`,
		"CPU >> 10 )":   `at character 6: a number or an attribute's name was expected, not ">"`,
		"CPU > 10 )":    `at character 10: &&, || or the end was expected, not ")"`,
		"(CPU > 1":      `at character 9: a closing parenthesis was expected`,
		"CPU > 1 &&":    `at character 11`,
		"CPU > 1.2.3":   `at character 7`,
		"CPU > -":       `at character 7`,
		"CPU > \"4up\"": `not "\""`,
		"é > 1":         `at character 1: a number or an attribute's name was expected, not "é"`,
		strings.Repeat("(", 200) + "A>1" + strings.Repeat(")", 200): `nested deeper`,
		strings.Repeat("!", 200) + "A>1":                            `nested deeper`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: got %v, want %s", text, err, message)
		}
	}
}

// A condition is read as what it is written as, and reading and evaluating it takes work in
// proportion, also where one part stands in it as often as there is room.
func FuzzParse(f *testing.F) {
	f.Add("(CPU > 80.5 && MEMORY != 3) || !(A < -2)")
	f.Add("1000000<0")
	f.Add("A>1||")
	f.Add("!(")
	f.Add("999999999999999999999999999999999999>'A'&")
	f.Fuzz(func(t *testing.T, text string) {
		expression, err := Parse(text)
		if err == nil && len(written(expression)) <= MaxLength {
			if again, err := Parse(written(expression)); err != nil || written(again) != written(expression) {
				t.Fatalf("%q is read as %s, which is read as %v (%v)", text, written(expression), again, err)
			}
		}
		if text == "" || len(text) > MaxLength {
			return
		}
		repeated := strings.Repeat(text, MaxLength/len(text)-1) + text + "A>1"
		repeated = repeated[max(0, len(repeated)-MaxLength):]
		effort.Bounded(t, len(repeated), func() {
			if expression, err := Parse(repeated); err == nil {
				names := expression.Attributes()
				_, _ = expression.Evaluate(map[string]float64{"A": math.MaxFloat64})
				_, _ = written(expression), names
			}
		})
	})
}
