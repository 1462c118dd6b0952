package template

import "strings"

// Expand is a value of CONTEXT with the values of $NAME put in. ok is false for what
// oned cannot read: a $ that no name follows and that no backslash is before, which stays in the
// value. $NAME[...] asks for something of another object, which here has nothing to tell.
func Expand(text string, value func(name string) string) (filled string, ok bool) {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			out.WriteString(text[i : i+2])
			i += 2
		case text[i] == '$':
			rest := text[i+1:]
			name := leading(rest, nameBytes)
			if name == 0 {
				return "", false
			}
			i += 1 + name
			if !strings.HasPrefix(rest[name:], "[") {
				out.WriteString(value(strings.ToUpper(rest[:name])))
				continue
			}
			end := strings.IndexByte(rest[name:], ']')
			if end < 0 {
				return "", false
			}
			i += end + 1
		default:
			out.WriteByte(text[i])
			i++
		}
	}
	return out.String(), true
}

// Unreadable is oned's reason against a variable in the template of a VM that it cannot read, ""
// where there is none.
func (t Template) Unreadable() string {
	var values []string
	for _, context := range t.Vectors("CONTEXT") {
		for _, a := range context.Vector {
			values = append(values, a.Name+"="+a.Value)
		}
	}
	values = append(values, t.Text("SCHED_REQUIREMENTS"))
	for _, text := range values {
		if _, ok := Expand(text, func(string) string { return "" }); !ok {
			return "Error parsing: " + text + ". syntax error, unexpected EOA, expecting $end or VARIABLE or RSTRING at line 0, columns 1:2"
		}
	}
	return ""
}
