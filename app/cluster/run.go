// Package cluster runs Flowjet on three front-ends on one machine, each part of each in a process of its own: a NATS server, a
// worker, a bridge and an API a front-end, over a simulated zone of as many oneds with a leader. It is for trying out, and for
// tests, what happens when parts die or are cut off.
//
// Each front-end has an address of its own: on the loopback interface, or in a network namespace, where it can be cut off from
// the others.
//
// Safety: a part that dies is started again, as systemd would, and a Run that ends leaves no process and no namespace. On
// Linux the processes of a Run that is killed die with it, but its namespaces stay.
package cluster

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

// Config configures a cluster.
type Config struct {
	Plan         Plan
	Network      *Network // nil if all front-ends are on the loopback interface
	Binary       string
	RestartAfter time.Duration // how long a part that has ended stays down; 0 is for ever
	Out          io.Writer     // for text for people
}

const (
	readyLine   = "Ctrl-C stops" // a part prints it when it works
	readyWithin = 90 * time.Second
	stopWithin  = 5 * time.Second
)

// Run starts the cluster, prints its addresses, and keeps it up until ctx ends.
func Run(ctx context.Context, config Config) error {
	r := &runner{config: config, pids: map[string]int{}}
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
	pids   map[string]int // the processes by their members' names, as first started
}

// startAll starts the parts in the order in which they need each other: those of one kind at once.
func (r *runner) startAll(ctx context.Context) error {
	if err := os.MkdirAll(r.logs(), 0o700); err != nil {
		return fmt.Errorf("create the folder for the cluster's data: %w: choose another with --data-dir", err)
	}
	if err := os.WriteFile(r.config.Plan.OperatorFile(), []byte(r.config.Plan.operatorConfig()), 0o600); err != nil {
		return fmt.Errorf("write the configuration for flowjet's commands: %w", err)
	}
	members, servers := r.config.Plan.Members(), 1+len(r.config.Plan.FrontEnds) // the simulator comes first, then the NATS servers
	for _, wave := range [][]Member{members[:1], members[1:servers]} {
		if err := r.startWave(ctx, wave); err != nil {
			return err
		}
	}
	// No part may make the streams.
	if said, err := r.command(ctx, Member{FrontEnd: 1, Arguments: r.config.Plan.Provision()}).CombinedOutput(); err != nil {
		return fmt.Errorf("create the streams: %w: %s", err, said)
	}
	return r.startWave(ctx, members[servers:])
}

func (r *runner) startWave(ctx context.Context, wave []Member) error {
	ready := make(chan error, len(wave))
	for _, member := range wave {
		r.parts.Go(func() { r.keep(ctx, member, ready) })
	}
	limit := time.After(readyWithin)
	for range wave {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
		case <-limit:
			return fmt.Errorf("start the cluster: a part is not ready after %s: see %s", readyWithin, r.logs())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *runner) logs() string { return filepath.Join(r.config.Plan.DataDir, "log") }

func (r *runner) logOf(member Member) string { return filepath.Join(r.logs(), member.Name+".log") }

// keep runs a part until ctx ends, and restarts it if it ends before.
func (r *runner) keep(ctx context.Context, member Member, ready chan<- error) {
	for starts := 0; ; starts++ {
		err := r.runOnce(ctx, member, ready)
		if ctx.Err() != nil {
			return
		}
		if ready != nil {
			// Nothing receives from ready after the first time: the channel has room for one.
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
		if idle.For(ctx, r.config.RestartAfter) != nil {
			return
		}
	}
}

func (r *runner) runOnce(ctx context.Context, member Member, ready chan<- error) error {
	log, err := os.OpenFile(r.logOf(member), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := r.command(ctx, member)
	output := &watcher{to: log, seen: func() {
		if ready == nil { // it had worked before
			r.say("%s runs again as process %d", member.Name, command.Process.Pid)
			return
		}
		r.mutex.Lock()
		r.pids[member.Name] = command.Process.Pid
		r.mutex.Unlock()
		ready <- nil
	}}
	command.Stdout, command.Stderr = output, output
	return command.Run()
}

// command returns flowjet with the part's arguments, in its front-end's namespace.
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

func (r *runner) say(format string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Fprintf(r.config.Out, time.Now().Format("15:04:05.000")+"  "+format+"\n", arguments...)
}

// watcher copies a part's output and waits for readyLine in it.
type watcher struct {
	to   io.Writer
	seen func()
	text bytes.Buffer
	done bool
}

// maxWatched bounds the output that is searched.
const maxWatched = 64 << 10

func (w *watcher) Write(text []byte) (int, error) {
	if !w.done && w.text.Len() < maxWatched {
		w.text.Write(text)
		if bytes.Contains(w.text.Bytes(), []byte(readyLine)) {
			w.done = true
			w.seen()
		}
	}
	return w.to.Write(text)
}

// printWelcome prints the addresses, how to break the cluster, and how to watch it.
func (r *runner) printWelcome() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	plan, out := r.config.Plan, r.config.Out
	fmt.Fprintf(out, "Flowjet runs on %d front-ends.\n\n  %-9s %-8s %-28s %s\n", len(plan.FrontEnds), "part", "process", "listens on", "log")
	for _, member := range plan.Members() {
		fmt.Fprintf(out, "  %-9s %-8d %-28s %s\n", member.Name, r.pids[member.Name], cmp.Or(member.Listens, "-"), r.logOf(member))
	}
	fmt.Fprintf(out, "  oneds: %s; server 0 leads.\n  page: %s/flowjet/; user oneadmin, password opennebula.\n",
		all(plan.Oneds, "http://%s/RPC2", plan.Ports.XMLRPC), plan.API(0))
	fmt.Fprintf(out, `
Start a service (on any front-end):
  export ONEFLOW_URL=%[2]s ONEFLOW_USER=oneadmin ONEFLOW_PASSWORD=opennebula
  echo '{"name": "hello", "deployment": "straight", "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
    {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
  ]}' | %[1]s template create -
  %[1]s template instantiate hello --wait
`, os.Args[0], plan.API(0))
	r.printBreaking()
	fmt.Fprintf(out, "\nWatch:\n  %[1]s status --config %[2]s\n  %[1]s doctor --config %[2]s\n", os.Args[0], plan.OperatorFile())
	fmt.Fprintf(out, "  nats -s %s --nkey %s sub 'flow.event.>'\n  tail -f %s/*.log\n  curl -s %s/state\n\nCtrl-C stops everything.\n",
		strings.Split(plan.NATS(), ",")[0], filepath.Join(plan.Keys(), "operator.nk"), r.logs(), plan.Control())
}

func (r *runner) printBreaking() {
	plan, out, pids := r.config.Plan, r.config.Out, r.pids
	again := "it is not restarted"
	if r.config.RestartAfter > 0 {
		again = "it is restarted after " + r.config.RestartAfter.String()
	}
	fmt.Fprintf(out, "\nBreak something:\n")
	fmt.Fprintf(out, "  %-64s a worker dies; %s\n", fmt.Sprintf("kill -9 %d", pids["worker-1"]), again)
	fmt.Fprintf(out, "  %-64s one is suspended for longer than its lease\n", fmt.Sprintf("kill -STOP %[1]d; sleep 3; kill -CONT %[1]d", pids["worker-2"]))
	fmt.Fprintf(out, "  %-64s a NATS server dies\n", fmt.Sprintf("kill -9 %d", pids["nats-1"]))
	fmt.Fprintf(out, "  %-64s another oned leads\n", fmt.Sprintf("curl -X POST %s/leadership/move", plan.Control()))
	fmt.Fprintf(out, "  %-64s a oned stops; .../start starts it again\n", fmt.Sprintf("curl -X POST %s/servers/0/stop", plan.Control()))
	if network := r.config.Network; network != nil {
		fmt.Fprintf(out, "  %-64s front-end 2 is cut off; up reconnects it\n", fmt.Sprintf("ip link set %s down", network.cable(1)))
		fmt.Fprintf(out, "  %-64s front-end 1 cannot reach the NATS server of 2; del restores it\n",
			fmt.Sprintf("ip -n %s route add blackhole %s", network.Namespace(0), plan.FrontEnds[1]))
	}
}
