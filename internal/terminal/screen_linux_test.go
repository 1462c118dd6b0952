package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// openTerminal returns the two ends of a terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	var unlocked, number int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlocked, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// TestAScreenIsGivenBack: it is drawn on a page of its own, in colours, and is as before at the end.
func TestAScreenIsGivenBack(t *testing.T) {
	person, program := openTerminal(t)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	c := New(program, Table)
	screen, drawn := c.Screen(func() {})
	if !drawn {
		t.Fatal("a terminal is not drawn on")
	}
	screen.Draw(c.State("RUNNING") + "\nsecond")
	screen.Close()
	want := "\x1b[?1049h\x1b[?25l\x1b[2J\x1b[H\x1b[32mRUNNING\x1b[0m\x1b[0m\x1b[K\r\nsecond\x1b[0m\x1b[K\x1b[J\x1b[?25h\x1b[?1049l"
	got := make([]byte, len(want))
	n, err := io.ReadFull(person, got)
	// The terminal itself may put a carriage return before each newline.
	if text := strings.ReplaceAll(string(got[:n]), "\r\r\n", "\r\n"); err != nil || !strings.HasPrefix(want, text) {
		t.Errorf("%v %q, want %q", err, got[:n], want)
	}
	t.Setenv("TERM", "dumb")
	if _, drawn := New(program, Table).Screen(func() {}); drawn {
		t.Error("a dumb terminal is drawn on")
	}
}
