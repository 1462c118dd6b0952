package terminal

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Screen is a terminal that is redrawn repeatedly, on a page of its own: its former contents come back when it is closed.
type Screen struct {
	out     File
	restore func()
}

// Screen takes over the terminal; false if the console is none, or a terminal that cannot
// be drawn on. Quit is called when q or Ctrl-C is typed.
func (c *Console) Screen(quit context.CancelFunc) (*Screen, bool) {
	out, isFile := c.out.(File)
	if !isFile || !IsTerminal(out) || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return nil, false
	}
	s := &Screen{out: out, restore: func() {}}
	if keyboard := int(os.Stdin.Fd()); term.IsTerminal(keyboard) {
		if was, err := term.MakeRaw(keyboard); err == nil {
			s.restore = func() { _ = term.Restore(keyboard, was) }
			go awaitQuit(os.Stdin, quit)
		}
	}
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l\x1b[2J")
	return s, true
}

// awaitQuit reads keys until one of them quits, or until the process ends.
func awaitQuit(keys io.Reader, quit context.CancelFunc) {
	key := make([]byte, 1)
	for {
		if _, err := keys.Read(key); err != nil || strings.ContainsRune("qQ\x03\x04", rune(key[0])) {
			quit()
			return
		}
	}
}

// Draw shows a text, cut to the screen.
func (s *Screen) Draw(text string) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width == 0 || height == 0 {
		width, height = 80, 24
	}
	fmt.Fprint(s.out, frame(text, width, height))
}

// Close restores the terminal.
func (s *Screen) Close() {
	fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
	s.restore()
}

// frame returns a text in the form that overwrites the one before.
func frame(text string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		lines[i] = fit(line, width) + "\x1b[0m\x1b[K"
	}
	return "\x1b[H" + strings.Join(lines, "\r\n") + "\x1b[J"
}

// fit cuts a line to so many characters, not counting the terminal's codes.
func fit(line string, width int) string {
	code := false
	for at, letter := range line {
		switch {
		case letter == '\x1b':
			code = true
		case code:
			code = letter != 'm'
		case width == 0:
			return line[:at]
		default:
			width--
		}
	}
	return line
}

// To returns a console that writes to out in the same way.
func (c *Console) To(out io.Writer) *Console {
	other := *c
	other.out = out
	return &other
}
