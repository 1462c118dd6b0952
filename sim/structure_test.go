package sim_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
)

// node is an element of XML as far as a reader's code depends on it: its name,
// what kind of text it has, and its children in order.
type node struct {
	name     string
	kind     string
	children []*node
}

// String is the structure; siblings of one structure count once.
func (n *node) String() string {
	if len(n.children) == 0 {
		return n.name + n.kind
	}
	var parts []string
	for _, child := range n.children {
		part := child.String()
		if len(parts) == 0 || parts[len(parts)-1] != part {
			parts = append(parts, part)
		}
	}
	return n.name + "{" + strings.Join(parts, " ") + "}"
}

var xmlToken = regexp.MustCompile(`(?s)<\?.*?\?>|<!\[CDATA\[.*?\]\]>|<[^>]+>|[^<]+`)

// structure reduces XML to names, order, nesting and whether text stands in
// CDATA; values and counts do not matter.
func structure(t testing.TB, text string) string {
	t.Helper()
	root := &node{name: "root"}
	stack := []*node{root}
	for _, token := range xmlToken.FindAllString(text, -1) {
		top := stack[len(stack)-1]
		switch {
		case strings.HasPrefix(token, "<?"):
		case strings.HasPrefix(token, "<![CDATA["):
			top.kind = ":cdata"
		case strings.HasPrefix(token, "</"):
			if len(stack) == 1 || "</"+top.name+">" != token {
				t.Fatalf("%s does not end %s", token, top.name)
			}
			stack = stack[:len(stack)-1]
		case strings.HasPrefix(token, "<"):
			child := &node{name: strings.Trim(token, "</>")}
			top.children = append(top.children, child)
			if strings.HasSuffix(token, "/>") {
				child.kind = ":none"
			} else {
				stack = append(stack, child)
			}
		}
	}
	if len(stack) != 1 {
		t.Fatalf("%s has no end", stack[len(stack)-1].name)
	}
	return root.String()
}

// answerStructure is the structure of an XML-RPC answer with the object in it.
func answerStructure(t testing.TB, raw string) string {
	t.Helper()
	outer := structure(t, raw)
	inner := ""
	if _, after, found := strings.Cut(raw, "<string>"); found {
		text, _, _ := strings.Cut(after, "</string>")
		if text = html.UnescapeString(text); strings.HasPrefix(text, "<") {
			inner = structure(t, text)
		}
	}
	return outer + " with " + inner
}

// difference shows where two structures part.
func difference(want, got string) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	from := max(i-120, 0)
	return fmt.Sprintf("\nrecorded ...%s\nanswered ...%s", want[from:min(i+160, len(want))], got[from:min(i+160, len(got))])
}

func TestStructureSeesOrderNestingAndCDATA(t *testing.T) {
	same := structure(t, "<A><B>1</B><B>2</B><C><![CDATA[x]]></C></A>")
	for _, other := range []string{
		"<A><C><![CDATA[x]]></C><B>1</B></A>", "<A><B>1</B><C>x</C></A>",
		"<A><B>1</B><C/></A>", "<A><B><C><![CDATA[x]]></C></B></A>",
	} {
		if structure(t, other) == same {
			t.Errorf("%s counts as the same", other)
		}
	}
	if structure(t, "<A><B>7</B><C><![CDATA[yy]]></C></A>") != same {
		t.Error("values and counts make a difference")
	}
}
