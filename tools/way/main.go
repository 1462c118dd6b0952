// Command way counts our functions that run between an input and its outcome: from the event of a VM that runs to the
// next VM's creation, and from a request to scale to the saved document. A reader who follows an input has to read as many. `make
// structure` runs it, built with -cover -covermode=atomic -coverpkg=./...; its bounds only fall.
//
// Functions that run without any input are left out, and so is the simulator with its publisher of hook events.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime/coverage"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/sim"
)

// Bounds on the functions and on the files with them.
const (
	eventFunctions, eventFiles     = 220, 48
	commandFunctions, commandFiles = 285, 60
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "way:", err)
		os.Exit(1)
	}
}

// fatal is the value that a failed step panics with.
type fatal struct{ error }

func run() (err error) {
	defer func() {
		if cause, is := recover().(fatal); is {
			err = cause.error
		}
	}()
	w, stop := newWay()
	defer stop()
	idle := w.during(func() { <-time.After(6 * time.Second) })
	for range attempts {
		if err = w.walk(idle); err == nil {
			return nil
		}
	}
	return err
}

// attempts is how often an input is tried until it takes the documented way: an input that arrives while its service's loop
// still handles the previous one is handled along with that.
const attempts = 6

// walk follows an event and a command of a new service.
func (w *way) walk(idle []string) error {
	before := len(w.sim.VMs())
	w.simulator("/boots/pause")
	service := w.instantiate()
	w.await("the first VM", func() bool { return w.vms("BOOT") == 1 })
	w.during(func() { <-time.After(2 * time.Second) }) // until its document is written and nothing runs
	event := w.until("one.template.instantiate", func() {
		w.simulator("/boots/resume")
		w.await("the next VM", func() bool { return len(w.sim.VMs()) == before+2 })
	})
	w.await("the service to run", func() bool { return strings.Contains(w.request(http.MethodGet, "/service/"+service, ""), `"state": 2`) })
	w.during(func() { <-time.After(time.Second) }) // until nothing runs
	command := w.until("one.document.update", func() {
		w.request(http.MethodPost, "/service/"+service+"/scale", `{"role_name": "app", "cardinality": 2}`)
	})
	w.await("the new VM", func() bool {
		return w.vms("BOOT")+w.vms("RUNNING") == len(w.sim.VMs()) && len(w.sim.VMs()) == before+3
	})
	page, err := os.ReadFile("docs/architecture.md")
	must(err)
	return errors.Join(
		documented(string(page), "an event", event, idle),
		documented(string(page), "a command", command, idle),
		bound("event to the next VM", event, idle, eventFunctions, eventFiles),
		bound("scale to the saved document", command, idle, commandFunctions, commandFiles),
	)
}

// way is a whole Flowjet in this process, whose functions are counted.
type way struct {
	sim *sim.Sim
	api string
}

func must(err error) {
	if err != nil {
		panic(fatal{err})
	}
}

func newWay() (w *way, stop func()) {
	folder, err := os.MkdirTemp("", "way")
	must(err)
	flags := pflag.NewFlagSet("way", pflag.ContinueOnError)
	app.AddFlags(flags)
	must(flags.Parse([]string{
		"--sim", "--data-dir", folder, "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
	}))
	config, err := app.ReadConfig("", flags)
	must(err)
	parts := []app.Part{app.PartNATS, app.PartSim, app.PartWorker, app.PartBridge, app.PartAPI}
	whole := app.New(config, parts, "way", io.Discard, slog.New(slog.DiscardHandler))
	must(whole.Start(context.Background()))
	return &way{whole.Sim(), "http://" + whole.APIAddress()}, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = whole.Stop(ctx)
		_ = os.RemoveAll(folder)
	}
}

// await waits for a condition for two minutes at most.
func (w *way) await(what string, condition func() bool) {
	for limit := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			panic(fatal{fmt.Errorf("waited in vain for %s", what)})
		}
	}
}

// vms counts the VMs in a state.
func (w *way) vms(state string) (count int) {
	for _, vm := range w.sim.VMs() {
		if vm.StateText == state {
			count++
		}
	}
	return count
}

func (w *way) simulator(path string) { w.send(http.MethodPost, w.sim.ControlURL()+path, "") }

func (w *way) request(method, path, body string) string {
	return w.send(method, w.api+path, body)
}

func (w *way) send(method, url, body string) string {
	request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	must(err)
	request.SetBasicAuth("oneadmin", "opennebula")
	response, err := http.DefaultClient.Do(request)
	must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= http.StatusMultipleChoices {
		panic(fatal{fmt.Errorf("%s %s: %s %s %w", method, url, response.Status, text, err)})
	}
	return string(text)
}

// instantiate makes a service whose second role waits for its first.
func (w *way) instantiate() string {
	answer := w.request(http.MethodPost, "/service_template", `{"name": "way", "deployment": "straight", "roles": [
		{"name": "db", "type": "vm", "cardinality": 1, "template_id": 0},
		{"name": "app", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["db"]}]}`)
	answer = w.request(http.MethodPost, "/service_template/"+idIn(answer)+"/action", `{"action": {"perform": "instantiate"}}`)
	return idIn(answer)
}

func idIn(answer string) string {
	_, rest, _ := strings.Cut(answer, `"ID": "`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// during returns the functions that run during what, as file:line name.
func (w *way) during(what func()) []string {
	must(coverage.ClearCounters())
	what()
	ran, err := counters()
	must(err)
	return functionsIn(ran)
}

// until returns the functions that run from the call of what until oned has carried out a call of a method.
func (w *way) until(method string, what func()) []string {
	var once sync.Once
	var ran string
	called := make(chan error, 1)
	w.sim.OnCall(func(call sim.Call) {
		if call.Method == method {
			once.Do(func() {
				var err error
				ran, err = counters()
				called <- err
			})
		}
	})
	must(coverage.ClearCounters())
	what()
	must(<-called)
	return functionsIn(ran)
}

// counters writes the counts since they were cleared into a new folder.
func counters() (folder string, err error) {
	if folder, err = os.MkdirTemp("", "way"); err != nil {
		return "", err
	}
	return folder, errors.Join(coverage.WriteCountersDir(folder), coverage.WriteMetaDir(folder))
}

// functionsIn returns the functions that have run by a folder of counters, which it removes.
func functionsIn(folder string) (ran []string) {
	defer os.RemoveAll(folder)
	listed, err := exec.CommandContext(context.Background(), "go", "tool", "covdata", "func", "-i="+folder).Output()
	must(err)
	for lines := bufio.NewScanner(bytes.NewReader(listed)); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // file:line: name percentage
		if len(fields) == 3 && fields[2] != "0.0%" && strings.Contains(fields[0], "/flowjet/") && !leftOut.MatchString(fields[0]) {
			ran = append(ran, strings.TrimPrefix(fields[0], "github.com/flowjet/flowjet/")+" "+fields[1])
		}
	}
	return ran
}

// leftOut matches the files of the simulator, whose events internal/zmqpub publishes, and of this command.
var leftOut = regexp.MustCompile("/(sim|internal/zmqpub|tools)/")

// bound prints how many functions ran beyond those that always run, and fails if they are too many.
func bound(what string, ran, idle []string, functions, files int) error {
	ran = slices.DeleteFunc(ran, func(one string) bool { return slices.Contains(idle, one) })
	in := map[string]bool{}
	for _, one := range ran {
		file, _, _ := strings.Cut(one, ":")
		in[file] = true
	}
	fmt.Printf("%-32s %4d functions in %3d files\n", what, len(ran), len(in))
	if path := os.Getenv("FLOWJET_WAY"); path != "" {
		must(os.WriteFile(path+strings.ReplaceAll(what, " ", "-"), []byte(strings.Join(ran, "\n")), 0o600))
	}
	if len(ran) > functions || len(in) > files {
		return fmt.Errorf("%s: %d functions in %d files run, more than %d in %d", what, len(ran), len(in), functions, files)
	}
	return nil
}

// documented returns an error that names the functions of the page's table which have not run.
func documented(page, of string, ran, idle []string) error {
	_, rest, _ := strings.Cut(page, "<!-- way of "+of+" -->")
	table, _, found := strings.Cut(rest, "<!-- end of the way -->")
	if !found {
		return fmt.Errorf("docs/architecture.md has no table of the way of %s", of)
	}
	var names []string
	for _, one := range slices.Concat(ran, idle) {
		_, name, _ := strings.Cut(one, " ")
		names = append(names, strings.TrimPrefix(name, "*"))
	}
	var missing []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, name := range quoted.FindAllStringSubmatch(cells[2], -1) {
			if !slices.Contains(names, name[1]) {
				missing = append(missing, name[1])
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("docs/architecture.md, the way of %s: %s did not run", of, strings.Join(missing, ", "))
	}
	return nil
}

// quoted matches a name in a table.
var quoted = regexp.MustCompile("`([^`]+)`")
