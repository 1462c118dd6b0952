package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // served where profileVariable asks for it
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
)

const (
	// partsVariable makes the test binary a Flowjet with these parts.
	partsVariable = "FLOWJET_BENCH_PARTS"
	// profileVariable is the host:port on which a worker's process serves its
	// profiles.
	profileVariable = "FLOWJET_BENCH_PROFILE"
	readyLine       = "ready"
)

func TestMain(m *testing.M) {
	if is, err := asBridge(); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if parts := os.Getenv(partsVariable); parts != "" {
		if err := runParts(strings.Split(parts, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runParts is a Flowjet process, from the flags on the command line.
func runParts(names []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	app.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	config, err := app.ReadConfig("", flags)
	if err != nil {
		return err
	}
	var parts []app.Part
	for _, name := range names {
		parts = append(parts, app.Part(name))
	}
	if address := os.Getenv(profileVariable); address != "" && slices.Contains(parts, app.PartWorker) {
		go func() { _ = http.ListenAndServe(address, nil) }() //nolint:gosec // a benchmark's, on loopback
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	flowjet := app.New(config, parts, "bench", io.Discard, logger)
	if err := flowjet.Start(ctx); err != nil {
		return err
	}
	fmt.Println(readyLine)
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
	defer cancel()
	return flowjet.Stop(ending)
}

// process is a Flowjet of its own, with some of the parts.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// launch starts parts as a process and returns once they run.
func launch(b *testing.B, environment []string, parts []app.Part, arguments ...string) *process {
	b.Helper()
	self, err := os.Executable()
	must(b, err)
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i] = string(part)
	}
	p := &process{command: exec.CommandContext(context.Background(), self, arguments...), ended: make(chan struct{})}
	p.command.Env = append(append(os.Environ(), partsVariable+"="+strings.Join(names, ",")), environment...)
	p.command.Stderr = os.Stderr
	out, err := p.command.StdoutPipe()
	must(b, err)
	must(b, p.command.Start())
	b.Cleanup(p.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != readyLine {
		b.Fatalf("%v did not start: %q %v", parts, line, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait()
	}()
	return p
}

// stop ends the process as Ctrl-C does, one that is suspended too, and waits.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	_ = p.command.Process.Signal(syscall.SIGCONT)
	<-p.ended
}

// memory is how many bytes the process holds, now and at most so far.
func (p *process) memory(b *testing.B) (now, peak int64) {
	b.Helper()
	text, err := os.ReadFile(p.file("status"))
	must(b, err)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			now = kibibytes(b, value)
		case "VmHWM":
			peak = kibibytes(b, value)
		}
	}
	return now, peak
}

func kibibytes(b *testing.B, value string) int64 {
	b.Helper()
	count, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
	must(b, err)
	return count << 10
}

// ticks is the unit of /proc's times, which Linux fixes for programs.
const ticks = 10 * time.Millisecond

// busy is how much processor time the process has used.
func (p *process) busy(b *testing.B) time.Duration {
	b.Helper()
	return busyOf(b, p.command.Process.Pid)
}

func busyOf(b *testing.B, process int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(process), "stat"))
	must(b, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	const user, system = 11, 12 // behind the name
	var sum int64
	for _, field := range []string{fields[user], fields[system]} {
		count, err := strconv.ParseInt(field, 10, 64)
		must(b, err)
		sum += count
	}
	return time.Duration(sum) * ticks
}

func (p *process) file(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), name)
}

// keyOf is the operator's key to the NATS server that a process with the data folder has
// started.
func keyOf(b *testing.B, folder string) []nats.Option {
	b.Helper()
	seed, err := nats.NkeyOptionFromSeed(filepath.Join(folder, "nats", "operator.nk"))
	must(b, err)
	return []nats.Option{seed}
}
