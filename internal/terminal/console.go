// Package terminal is how Flowjet's commands write and end: tables for people, with colours
// on a terminal only; JSON, YAML and names for scripts; one form for times; exit statuses.
package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// Console is where a command writes.
type Console struct {
	Format Format
	// Now is time.Now, but for tests.
	Now    func() time.Time
	out    io.Writer
	colour bool
	// widths are those of the last table's columns.
	widths []int
}

// New returns a console that colours on a terminal only, and not where NO_COLOR is set.
func New(out io.Writer, format Format) *Console {
	c := &Console{Format: format, Now: time.Now, out: out}
	c.colour = !c.Structured() && format != Name && IsTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return c
}

// IsTerminal reports whether what is written or read there is a person's.
func IsTerminal(end any) bool {
	file, isFile := end.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// Structured reports whether scripts are written for: values as JSON or YAML.
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
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// Line writes one of many values: as JSON on one line, or as a document of YAML.
func (c *Console) Line(value any) error {
	if c.Format == YAML {
		c.Say("---")
		return c.Show(value)
	}
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// YAMLOf returns a value as YAML with the names and the order that it has in JSON.
func YAMLOf(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	asBlocks(&node)
	return yaml.Marshal(&node)
}

// asBlocks takes from YAML that was read from JSON the look of JSON.
func asBlocks(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, inner := range node.Content {
		asBlocks(inner)
	}
}

// Title is a heading.
func (c *Console) Title(format string, arguments ...any) {
	c.Say("%s", c.Paint("1", Printable(fmt.Sprintf(format, arguments...))))
}

// Table writes rows in columns under a head. What is a state is coloured.
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

// Paint sets a text between two of the terminal's codes.
func (c *Console) Paint(code, text string) string {
	if !c.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// State colours a state's name, and leaves every other text alone.
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

// Ago is how long ago something was, as people say it.
func (c *Console) Ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return Span(c.Now().Sub(at))
}

// Span is a length of time in at most two units.
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

// AgoOf is Ago for a time that may not be known.
func (c *Console) AgoOf(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return c.Ago(*at)
}

// Listing is what a command that lists something found, in all forms.
type Listing struct {
	// Value is for scripts; Names are the ids.
	Value any
	Names []string
	// Head and Rows are all columns, of which a table has the first Narrow unless it is wide; 0 for all.
	Head   []string
	Rows   [][]string
	Narrow int
	// None is for people where there is nothing.
	None string
}

// List writes what was found as the command line asks for it.
func (c *Console) List(found Listing) error {
	switch {
	case c.Structured():
		return c.Show(found.Value)
	case c.Format == Name:
		for _, name := range found.Names {
			c.Say("%s", name)
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
