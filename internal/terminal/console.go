// Package terminal writes the output of Flowjet's commands, and ends them: tables for people, with colours
// on a terminal only; JSON, YAML and names for scripts; one form for times; exit statuses.
package terminal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/flowjet/flowjet/flow"
)

// Console writes a command's output.
type Console struct {
	Format Format
	Now    func() time.Time // time.Now, but for tests
	out    io.Writer
	colour bool
	widths []int // of the last table's columns
}

// New returns a console that colours on a terminal only, and not where NO_COLOR is set.
func New(out io.Writer, format Format) *Console {
	c := &Console{Format: format, Now: time.Now, out: out}
	c.colour = !c.Structured() && format != Name && IsTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return c
}

// File is an open file, as *os.File.
type File interface {
	io.Writer
	Fd() uintptr
}

// Output is a file that remembers the first error of writing to it, so that a command whose output is lost does not succeed.
type Output struct {
	File
	Err error
}

// Write implements io.Writer.
func (o *Output) Write(text []byte) (int, error) {
	n, err := o.File.Write(text)
	o.Err = cmp.Or(o.Err, err)
	return n, err
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(end any) bool {
	opened, isFile := end.(interface{ Fd() uintptr })
	return isFile && term.IsTerminal(int(opened.Fd()))
}

// Structured reports whether the output is for scripts: values as JSON or YAML.
func (c *Console) Structured() bool { return c.Format == JSON || c.Format == YAML }

// Show writes a value as JSON, indented, or as YAML.
func (c *Console) Show(value any) error {
	if c.Format == YAML {
		text, err := YAMLOf(value)
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	return c.writeJSON(value, "  ")
}

// Present writes a value for scripts, or calls text, which writes it for people.
func (c *Console) Present(value any, text func()) error {
	if c.Structured() {
		return c.Show(value)
	}
	text()
	return nil
}

// Line writes one of many values: as JSON on one line, or as a document of YAML.
func (c *Console) Line(value any) error {
	if c.Format == YAML {
		c.Say("---")
		return c.Show(value)
	}
	return c.writeJSON(value, "")
}

func (c *Console) writeJSON(value any, indent string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := c.out.Write(escapeControls(text.Bytes()))
	return err
}

// escapeControls escapes in JSON the characters that a terminal would obey and encoding/json leaves unchanged: YAML must not have them either.
func escapeControls(text []byte) []byte {
	obeyed := func(r rune) bool { return r > ' ' && unicode.IsControl(r) }
	if !bytes.ContainsFunc(text, obeyed) {
		return text
	}
	var escaped []byte
	for _, r := range string(text) {
		if obeyed(r) {
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		} else {
			escaped = utf8.AppendRune(escaped, r)
		}
	}
	return escaped
}

// YAMLOf returns a value as YAML with the names and the order of its JSON.
func YAMLOf(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(escapeControls(text), &node); err != nil {
		return nil, err
	}
	asBlocks(&node)
	return yaml.Marshal(&node)
}

// asBlocks replaces the flow style of YAML that was read from JSON by blocks.
func asBlocks(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, inner := range node.Content {
		asBlocks(inner)
	}
}

// Title writes a heading.
func (c *Console) Title(format string, arguments ...any) {
	c.Say("%s", c.Paint("1", Printable(fmt.Sprintf(format, arguments...))))
}

// Table writes rows in columns under a head. States are coloured.
func (c *Console) Table(head []string, rows [][]string) {
	widths := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			row[i] = Printable(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	c.widths = widths
	c.row(head, func(cell string) string { return c.Paint("2", cell) })
	for _, row := range rows {
		c.row(row, c.State)
	}
}

// Section writes a table below an empty line; nothing without rows.
func (c *Console) Section(head []string, rows [][]string) {
	if len(rows) > 0 {
		c.Say("")
		c.Table(head, rows)
	}
}

// Aligned writes one more row of the last table.
func (c *Console) Aligned(row []string) {
	for i, cell := range row {
		row[i] = Printable(cell)
	}
	c.row(row, c.State)
}

func (c *Console) row(cells []string, dress func(string) string) {
	var line strings.Builder
	for i, cell := range cells {
		line.WriteString(dress(cell))
		if i < len(cells)-1 {
			width := utf8.RuneCountInString(cell)
			if i < len(c.widths) {
				width = max(width, c.widths[i])
			}
			line.WriteString(strings.Repeat(" ", width-utf8.RuneCountInString(cell)+2))
		}
	}
	c.Say("%s", strings.TrimRight(line.String(), " "))
}

// Paint puts a text between two of the terminal's codes.
func (c *Console) Paint(code, text string) string {
	if !c.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// State colours a state's name, and returns every other text unchanged.
func (c *Console) State(text string) string {
	switch {
	case text == "RUNNING" || text == "ok" || text == "done":
		return c.Paint("32", text)
	case text == "WARNING" || text == "warning" || text == "HOLD":
		return c.Paint("33", text)
	case strings.HasPrefix(text, "FAILED_") || strings.HasPrefix(text, "MISSING") || strings.HasPrefix(text, "AWAY") || text == "problem" || text == "refused":
		return c.Paint("31", text)
	case text == "DEPLOYING" || text == "SCALING" || text == "COOLDOWN" || text == "UNDEPLOYING" || text == "PENDING" || strings.HasSuffix(text, "_NETS"):
		return c.Paint("36", text)
	}
	return text
}

// Ago returns how long ago a time was, for people.
func (c *Console) Ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return Span(c.Now().Sub(at))
}

// Span returns a length of time in at most two units.
func Span(length time.Duration) string {
	switch {
	case length < 0:
		return "0s"
	case length < time.Second:
		return fmt.Sprintf("%dms", length.Milliseconds())
	case length < time.Minute:
		return fmt.Sprintf("%ds", int(length.Seconds()))
	case length < time.Hour:
		return fmt.Sprintf("%dm%ds", int(length.Minutes()), int(length.Seconds())%60)
	case length < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(length.Hours()), int(length.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(length.Hours())/24, int(length.Hours())%24)
}

// Lines writes lines behind a label in a column of so many characters; only the first line has it.
func (c *Console) Lines(width int, label string, lines ...string) {
	for _, line := range lines {
		c.Say("%-*s %s", width, label, c.Timed(line))
		label = ""
	}
}

// Findings returns a line for each finding.
func Findings(found []flow.Finding) (lines []string) {
	for _, each := range found {
		if each.Role != "" && each.VM != nil {
			each.Message += " (role " + each.Role + ")"
		}
		lines = append(lines, each.Message)
	}
	return lines
}

// Abridged returns a text of at most so many characters.
func Abridged(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// Since returns for how long, and since when, something has been so; empty if that is not known.
func (c *Console) Since(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " for " + c.Ago(at) + ", since " + c.At(at)
}

// Listing is the output of a command that lists objects, in all forms.
type Listing struct {
	Value  any      // for scripts
	Head   []string // and Rows are all columns, of which a table has the first Narrow unless it is wide; 0 for all
	Rows   [][]string
	Narrow int
	ID     int    // the column with the ids
	None   string // for people if there are none
}

// List writes a listing in the format of the command line.
func (c *Console) List(found Listing) error {
	switch {
	case c.Structured():
		return c.Show(found.Value)
	case c.Format == Name:
		for _, row := range found.Rows {
			c.Say("%s", row[found.ID])
		}
	case len(found.Rows) == 0:
		c.Say("%s", found.None)
	case c.Format == Wide || found.Narrow == 0:
		c.Table(found.Head, found.Rows)
	default:
		rows := make([][]string, len(found.Rows))
		for i, row := range found.Rows {
			rows[i] = row[:found.Narrow]
		}
		c.Table(found.Head[:found.Narrow], rows)
	}
	return nil
}

// At writes a time in the form of all commands: in this host's zone, with the date if it is not today; "-" for no time.
func (c *Console) At(when time.Time) string { return form(when, c.Now(), "15:04:05 MST") }

// Exactly is At with milliseconds, for events that are close together.
func (c *Console) Exactly(when time.Time) string { return form(when, c.Now(), "15:04:05.000 MST") }

func form(when, now time.Time, layout string) string {
	if when.IsZero() {
		return "-"
	}
	when, now = when.Local(), now.Local()
	if when.YearDay() != now.YearDay() || when.Year() != now.Year() {
		layout = time.DateOnly + " " + layout
	}
	return when.Format(layout)
}

// stamp matches a time in UTC in messages.
var stamp = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// Timed rewrites the times in another program's message in the form of all others.
func (c *Console) Timed(message string) string {
	return stamp.ReplaceAllStringFunc(Printable(message), func(text string) string {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return text
		}
		return c.At(when)
	})
}

// Change describes a change, with times in the form of all others and the new state coloured.
func (c *Console) Change(change flow.Change) string {
	text := c.Timed(change.Text())
	if change.Kind != "service" && change.Kind != "role" {
		return text
	}
	return strings.Replace(text, "-> "+change.New, "-> "+c.State(change.New), 1)
}

// Printable returns another program's text without the characters that a terminal would obey.
func Printable(text string) string { return without(text, false) }

// without is Printable, which may keep line ends.
func without(text string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

// paint matches the codes that Paint sets.
var paint = regexp.MustCompile("\x1b\\[(?:0|1|2|3[1-6])m")

// Say writes a line. The texts in it may be another program's: of the codes that a terminal would obey
// only Paint's are kept, and line ends if the line is one text.
func (c *Console) Say(format string, arguments ...any) {
	arguments = slices.Clone(arguments)
	for i := range arguments {
		text, isText := arguments[i].(string)
		if !isText {
			continue
		}
		var kept strings.Builder
		end := 0
		for _, code := range paint.FindAllStringIndex(text, -1) {
			kept.WriteString(without(text[end:code[0]], format == "%s"))
			kept.WriteString(text[code[0]:code[1]])
			end = code[1]
		}
		kept.WriteString(without(text[end:], format == "%s"))
		arguments[i] = kept.String()
	}
	fmt.Fprintf(c.out, format+"\n", arguments...)
}

// Error writes an error, which may quote another program's text.
func Error(out io.Writer, err error) { fmt.Fprintln(out, "flowjet:", without(err.Error(), true)) }
