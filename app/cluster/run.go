package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Config says how a cluster is run.
type Config struct {
	Plan Plan
	// Network is nil where all front-ends are on the loopback interface.
	Network *Network
	// Binary is flowjet's.
	Binary string
	// RestartAfter is how long a part that has ended stays so; 0 is for ever.
	RestartAfter time.Duration
	// Out takes what people read.
	Out io.Writer
}

const (
	// readyLine is what a part prints when it works.
	readyLine = "Ctrl-C stops"
	// readyWithin bounds a part's start.
	readyWithin = 90 * time.Second
	// stopWithin bounds a part's end.
	stopWithin = 5 * time.Second
)

// Run starts the cluster, prints what is where, and keeps it up until ctx ends.
func Run(ctx context.Context, config Config) error {
	r := &runner{config: config}
	life, end := context.WithCancel(ctx)
	defer r.parts.Wait()
	defer end()
	if err := r.startAll(life); err != nil {
		return err
	}
	r.printWelcome()
	<-ctx.Done()
	fmt.Fprintln(config.Out, "Stopping.")
	return nil
}

// runner keeps the parts of a cluster up.
type runner struct {
	config Config
	parts  sync.WaitGroup
	mutex  sync.Mutex
	lines  []line
}

// line is one of the list of what is where.
type line struct {
	member Member
	pid    int
}

// startAll starts the parts in the order in which they need each other: those of
// one kind at once.
func (r *runner) startAll(ctx context.Context) error {
	if err := os.MkdirAll(r.logs(), 0o700); err != nil {
		return fmt.Errorf("create the folder for the cluster's data: %w: choose another with --data-dir", err)
	}
	if err := os.WriteFile(r.config.Plan.OperatorFile(), []byte(r.config.Plan.operatorConfig()), 0o600); err != nil {
		return fmt.Errorf("write the configuration for flowjet's commands: %w", err)
	}
	waves := [][]Member{nil, nil, nil}
	for _, member := range r.config.Plan.Members() {
		wave := 2
		switch member.Arguments[0] {
		case "sim":
			wave = 0
		case "nats":
			wave = 1
		}
		waves[wave] = append(waves[wave], member)
	}
	for i, wave := range waves {
		if err := r.startWave(ctx, wave); err != nil {
			return err
		}
		if i == 1 {
			if err := r.provision(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// provision makes the streams: no part has the right to.
func (r *runner) provision(ctx context.Context) error {
	command := exec.CommandContext(ctx, r.config.Binary, r.config.Plan.Provision()...) //nolint:gosec // our own binary
	if network := r.config.Network; network != nil {
		command = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", network.Namespace(0), r.config.Binary}, r.config.Plan.Provision()...)...) //nolint:gosec // our own binary
	}
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("create the streams: %w: %s", err, said)
	}
	return nil
}

func (r *runner) startWave(ctx context.Context, wave []Member) error {
	ready := make(chan error, len(wave))
	for _, member := range wave {
		r.parts.Go(func() { r.keep(ctx, member, ready) })
	}
	limit := time.NewTimer(readyWithin)
	defer limit.Stop()
	for range wave {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
		case <-limit.C:
			return fmt.Errorf("start the cluster: a part is not ready after %s: see %s", readyWithin, r.logs())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *runner) logs() string { return filepath.Join(r.config.Plan.DataDir, "log") }

func (r *runner) logOf(member Member) string { return filepath.Join(r.logs(), member.Name+".log") }

// keep runs a part until ctx ends, and starts it again when it ends before.
func (r *runner) keep(ctx context.Context, member Member, ready chan<- error) {
	for starts := 0; ; starts++ {
		err := r.runOnce(ctx, member, ready)
		if ctx.Err() != nil {
			return
		}
		if ready != nil {
			// Nothing waits for a part that was ready once: the channel has room for one.
			select {
			case ready <- fmt.Errorf("start %s: it exited: %w: see %s", member.Name, err, r.logOf(member)):
			default:
			}
		}
		ready = nil
		if r.config.RestartAfter == 0 {
			r.say("%s has exited: %v", member.Name, err)
			return
		}
		r.say("%s has exited (%v) and is restarted in %s", member.Name, err, r.config.RestartAfter)
		timer := time.NewTimer(r.config.RestartAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// runOnce runs a part until it ends.
func (r *runner) runOnce(ctx context.Context, member Member, ready chan<- error) error {
	log, err := os.OpenFile(r.logOf(member), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := r.command(ctx, member)
	output := &watcher{to: log, line: readyLine, seen: func() { r.isReady(member, command.Process.Pid, ready) }}
	command.Stdout, command.Stderr = output, output
	return command.Run()
}

// command is flowjet with the part's arguments, in its front-end's namespace.
func (r *runner) command(ctx context.Context, member Member) *exec.Cmd {
	arguments := append([]string{r.config.Binary}, member.Arguments...)
	if r.config.Network != nil && member.FrontEnd > 0 {
		arguments = append([]string{"ip", "netns", "exec", r.config.Network.Namespace(member.FrontEnd - 1)}, arguments...)
	}
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...) //nolint:gosec // our own binary
	command.SysProcAttr = processAttributes()
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopWithin
	return command
}

// isReady notes a part that works, and says so if it had been working before.
func (r *runner) isReady(member Member, pid int, ready chan<- error) {
	if ready == nil {
		r.say("%s runs again as process %d", member.Name, pid)
		return
	}
	r.mutex.Lock()
	r.lines = append(r.lines, line{member, pid})
	r.mutex.Unlock()
	ready <- nil
}

func (r *runner) say(format string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Fprintf(r.config.Out, time.Now().Format("15:04:05.000")+"  "+format+"\n", arguments...)
}

// watcher passes a part's output on and waits for a line in it.
type watcher struct {
	to   io.Writer
	line string
	seen func()
	text bytes.Buffer
	done bool
}

// maxWatched bounds the output that is searched.
const maxWatched = 64 << 10

func (w *watcher) Write(text []byte) (int, error) {
	if !w.done && w.text.Len() < maxWatched {
		w.text.Write(text)
		if bytes.Contains(w.text.Bytes(), []byte(w.line)) {
			w.done = true
			w.seen()
		}
	}
	return w.to.Write(text)
}
