package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/internal/testlog"
)

// process is a flowjet of its own.
type process struct {
	t         *testing.T
	self      string
	under     []string // what runs it, empty for nothing
	arguments []string
	command   *exec.Cmd
	output    *testlog.Log
	ended     chan struct{}
	err       error // valid once ended is closed
}

// start runs flowjet with the arguments; the test's end kills what still runs.
func start(t *testing.T, arguments ...string) *process {
	t.Helper()
	return startUnder(t, nil, arguments...)
}

// startUnder is start with a command that runs flowjet in its own place.
func startUnder(t *testing.T, under []string, arguments ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, self: self, under: under, arguments: arguments, output: &testlog.Log{}}
	p.again()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("flowjet %s printed:\n%s", strings.Join(arguments, " "), p.tail())
		}
	})
	return p
}

// again starts a process that has ended once more.
func (p *process) again() {
	p.t.Helper()
	ended := make(chan struct{})
	p.ended = ended
	words := slices.Concat(p.under, []string{p.self}, p.arguments)
	p.command = exec.CommandContext(context.Background(), words[0], words[1:]...)
	p.command.Env = append(os.Environ(), asCommand+"=1")
	p.command.Stdout, p.command.Stderr = p.output, p.output
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	command := p.command
	go func() {
		p.err = command.Wait()
		close(ended)
	}()
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits for the process to end by itself.
func (p *process) wait() {
	p.t.Helper()
	limit := time.NewTimer(poll.Limit)
	defer limit.Stop()
	select {
	case <-p.ended:
	case <-limit.C:
		p.t.Fatalf("flowjet does not end:\n%s", p.tail())
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// goroutines ends the process and returns what each of its goroutines was doing.
func (p *process) goroutines() string {
	if p.gone() || p.command.Process.Signal(syscall.SIGQUIT) != nil {
		return "it has ended"
	}
	p.wait()
	_, dump, _ := strings.Cut(p.output.String(), "SIGQUIT: quit")
	return dump
}

// interrupt is Ctrl-C; it returns how long the process took to end, and its error.
func (p *process) interrupt() (time.Duration, error) {
	p.t.Helper()
	began := time.Now()
	if err := p.command.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
	p.wait()
	return time.Since(began), p.err
}

// says waits until the process has printed the text.
func (p *process) says(text string) {
	p.t.Helper()
	poll.Until(p.t, "flowjet to print "+text, func() bool {
		select {
		case <-p.ended:
			if !strings.Contains(p.output.String(), text) {
				p.t.Fatalf("flowjet ended (%v) and had not printed %q:\n%s", p.err, text, p.output.String())
			}
		default:
		}
		return strings.Contains(p.output.String(), text)
	})
}

// tail is the end of what it printed.
func (p *process) tail() string {
	text := p.output.String()
	return text[max(0, len(text)-8000):]
}

// cloud is where one `up --sim` of a test listens and stores; a restart uses
// the same.
type cloud struct {
	data, api, nats, xmlrpc, hooks, control string
}

func newCloud(t *testing.T) cloud {
	t.Helper()
	at := ports.Free(t, 5)
	return cloud{data: t.TempDir(), api: at[0], nats: at[1], xmlrpc: at[2], hooks: at[3], control: at[4]}
}

// key is the file of a role's key to the cloud's NATS server.
func (c cloud) key(role string) string { return filepath.Join(c.data, "nats", role+".nk") }

// auth is the file with the credentials of the server user of the cloud's simulator.
func (c cloud) auth() string { return filepath.Join(c.data, app.SimulatedAuthFile) }

// simulator are the addresses of the cloud's simulator.
func (c cloud) simulator() string { return strings.Join([]string{c.xmlrpc, c.hooks, c.control}, ",") }

// slow has every call to the simulated oned take so long.
func (c cloud) slow(t *testing.T, call time.Duration) {
	t.Helper()
	if status, answer := c.try(t, "POST", "http://"+c.control+"/delays", fmt.Sprintf(`{"call":%q}`, call)); status != http.StatusOK {
		t.Fatalf("POST /delays: %d: %s", status, answer)
	}
}

// shortDeadlines have workers see soon to VMs whose driver died with its oned.
var shortDeadlines = []string{"--deadlines", "leader-change=2s,prolog=3s,boot=3s,shutdown=3s,epilog=3s"}

func (c cloud) up(t *testing.T, more ...string) *process {
	t.Helper()
	p := start(t, append([]string{
		"up", "--sim", "--data-dir", c.data, "--api-listen", c.api, "--nats-listen", c.nats,
		"--sim-listen", c.simulator(),
	}, slices.Concat(shortDeadlines, more)...)...)
	p.says("Ctrl-C stops")
	return p
}
