package operate

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// console is where a command writes.
type console struct {
	out    io.Writer
	json   bool
	colour bool
	now    func() time.Time
}

// newConsole colours on a terminal only, and not where NO_COLOR is set.
func newConsole(out io.Writer, format string) (*console, error) {
	c := &console{out: out, now: time.Now}
	switch format {
	case "table":
	case "json":
		c.json = true
	default:
		return nil, ExitUsage.Because(fmt.Errorf("-o is %q: it must be table or json", format))
	}
	c.colour = !c.json && isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return c, nil
}

func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	if !isFile {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show writes a value as JSON, indented.
func (c *console) show(value any) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// line writes a value as JSON on one line.
func (c *console) line(value any) error {
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

func (c *console) say(format string, arguments ...any) {
	fmt.Fprintf(c.out, format+"\n", arguments...)
}

// title is a heading.
func (c *console) title(format string, arguments ...any) {
	c.say("%s", c.paint("1", fmt.Sprintf(format, arguments...)))
}

// table writes rows in columns under a head. What is a state is coloured.
func (c *console) table(head []string, rows [][]string) {
	widths := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	c.row(head, widths, func(cell string) string { return c.paint("2", cell) })
	for _, row := range rows {
		c.row(row, widths, c.state)
	}
}

func (c *console) row(cells []string, widths []int, dress func(string) string) {
	var line strings.Builder
	for i, cell := range cells {
		line.WriteString(dress(cell))
		if i < len(cells)-1 {
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	c.say("%s", strings.TrimRight(line.String(), " "))
}

// paint sets a text between two of the terminal's codes.
func (c *console) paint(code, text string) string {
	if !c.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// state colours a state's name, and leaves every other text alone.
func (c *console) state(text string) string {
	switch {
	case text == "RUNNING" || text == "ok" || text == "done":
		return c.paint("32", text)
	case text == "WARNING" || text == "warning" || text == "HOLD":
		return c.paint("33", text)
	case strings.HasPrefix(text, "FAILED_") || strings.HasPrefix(text, "MISSING") || strings.HasPrefix(text, "AWAY") || text == "problem" || text == "refused":
		return c.paint("31", text)
	case text == "DEPLOYING" || text == "SCALING" || text == "COOLDOWN" || text == "UNDEPLOYING" || text == "PENDING" || strings.HasSuffix(text, "_NETS"):
		return c.paint("36", text)
	}
	return text
}

// ago is how long ago something was, as people say it.
func (c *console) ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return span(c.now().Sub(at))
}

// span is a length of time in at most two units.
func span(length time.Duration) string {
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

func agoOf(c *console, at *time.Time) string {
	if at == nil {
		return "-"
	}
	return c.ago(*at)
}

// bytesText is a size in the unit that suits it.
func bytesText[T int64 | uint64](size T) string {
	const unit = 1024
	switch value := float64(size); {
	case value < unit:
		return fmt.Sprintf("%.0f B", value)
	case value < unit*unit:
		return fmt.Sprintf("%.0f KiB", value/unit)
	case value < unit*unit*unit:
		return fmt.Sprintf("%.0f MiB", value/unit/unit)
	default:
		return fmt.Sprintf("%.1f GiB", value/unit/unit/unit)
	}
}
