package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// PrintWelcome prints the listen addresses and what to try first.
func (a *App) PrintWelcome() {
	fmt.Fprintf(a.out, "Flowjet %s is running.\n\n", a.version)
	a.printAddresses()
	if a.sim != nil && a.api != nil {
		a.printExample()
	}
	fmt.Fprintln(a.out)
	if a.has(PartNarrator) {
		fmt.Fprint(a.out, "Events follow, one per line. ")
	}
	fmt.Fprintln(a.out, "Ctrl-C stops.")
}

// pagePath is where the API has the live page.
const pagePath = "/flowjet/"

// printAddresses prints this process's listen addresses and the addresses that it connects to.
func (a *App) printAddresses() {
	add := func(what, where string) { fmt.Fprintf(a.out, "  %-13s%s\n", what, where) }
	if a.api != nil {
		scheme := "http://"
		if a.config.API.CertificateFile != "" {
			scheme = "https://"
		}
		add("OneFlow API", scheme+a.api.Addr())
		add("live page", scheme+a.api.Addr()+pagePath)
	}
	if a.statusAddress != "" {
		add("metrics", "http://"+a.statusAddress+"/metrics")
	}
	if a.server != nil {
		add("NATS", a.server.URL())
	} else if a.pipe != nil {
		add("NATS", cmp.Or(a.config.NATS.URL, nats.DefaultURL)+" (external)")
	}
	simulated := ""
	if a.sim != nil {
		simulated = " (simulated)"
	}
	if a.oned != nil || a.sim != nil {
		for _, endpoint := range a.config.One.XMLRPC {
			add("oned", endpoint+simulated)
		}
	}
	if b := a.bridge.Load(); b != nil {
		for _, status := range b.Status() {
			add("hook events", status.Endpoint+simulated)
		}
	} else if a.sim != nil {
		for _, endpoint := range a.config.One.Hooks {
			add("hook events", endpoint+simulated)
		}
	}
	if a.sim != nil {
		add("simulator", a.sim.ControlURL()+" (breaks VMs and calls on demand)")
	}
	if a.server != nil && a.config.NATS.ServerFile == "" {
		add("NATS keys", absolute(a.config.keysFolder()))
	}
	if a.server != nil || a.sim != nil {
		add("data", absolute(a.config.DataDir))
	}
}

// absolute returns the absolute path of a folder, for users in another one.
func absolute(folder string) string {
	if path, err := filepath.Abs(folder); err == nil {
		return path
	}
	return folder
}

// printExample prints a template and its instantiation, ready to be pasted, and further commands.
func (a *App) printExample() {
	const natsURL = "nats://127.0.0.1:4222"
	api := "http://" + a.api.Addr()
	// The flags that commands need to find everything.
	user := unless(api, "http://127.0.0.1:2474", "--endpoint")
	folder := unless(filepath.Clean(a.config.DataDir), filepath.Clean(standardDataDir), "--data-dir")
	if folder != "" {
		user += " --auth-file " + filepath.Join(absolute(a.config.DataDir), simulatedUserFile)
	}
	first, _, _ := strings.Cut(cmp.Or(a.config.NATS.URL, nats.DefaultURL), ",")
	demo := unless(first, natsURL, "--nats")
	if a.server != nil {
		demo = unless(a.server.URL(), natsURL, "--nats") + folder
	}
	demo = unless(api, "http://127.0.0.1:2474", "--api") + demo + unless(a.config.One.XMLRPC[0], "http://127.0.0.1:2633/RPC2", "--one-xmlrpc")
	fmt.Fprintf(a.out, `
Paste this into another terminal to start a service:

  echo '{"name": "hello", "deployment": "straight", "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
    {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
  ]}' | %[1]s template create -%[2]s
  %[1]s template instantiate hello --wait%[2]s
`, os.Args[0], user)
	fmt.Fprintf(a.out, "\nSee a service's whole life:  %s demo%s\n", os.Args[0], demo)
	if a.server != nil {
		key := "" // for the `nats` command, if it needs a key of the data folder
		if a.config.NATS.ServerFile == "" {
			key = " --nkey " + filepath.Join(absolute(a.config.keysFolder()), string(pipeline.RoleOperator)+".nk")
		}
		fmt.Fprintf(a.out, "How everything is doing:     %s status%s\n", os.Args[0], unless(a.server.URL(), natsURL, "--nats-url")+folder)
		fmt.Fprintf(a.out, "The services in a browser:   %s%s\n", api, pagePath)
		fmt.Fprintf(a.out, "Messages on NATS:            nats%s%s sub 'flow.event.>'\n", unless(a.server.URL(), natsURL, "-s"), key)
	}
}

// unless returns a flag with its value unless the default will do.
func unless(value, standard, flag string) string {
	if value == standard {
		return ""
	}
	return " " + flag + " " + value
}

// narrator prints a line for each event, as it is published.
type narrator struct {
	mutex sync.Mutex
	out   io.Writer
}

func startNarrator(conn *nats.Conn, out io.Writer) (release func(context.Context) error, err error) {
	n, subs := &narrator{out: out}, []*nats.Subscription(nil)
	handlers := map[string]nats.MsgHandler{
		pipeline.SubjectsFlow: n.transition,
		pipeline.SubjectsONE:  n.event,
		pipeline.SubjectsDead: func(msg *nats.Msg) {
			n.line(time.Now(), "dead letter %s: %s", msg.Subject, msg.Header.Get(pipeline.HeaderReason))
		},
	}
	for subject, handler := range handlers {
		sub, err := conn.Subscribe(subject, handler)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", subject, err)
		}
		subs = append(subs, sub)
	}
	return func(context.Context) error {
		for _, sub := range subs {
			if err := sub.Unsubscribe(); err != nil {
				return fmt.Errorf("stop watching %s: %w", sub.Subject, err)
			}
		}
		return nil
	}, nil
}

func (n *narrator) line(at time.Time, format string, arguments ...any) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	fmt.Fprintf(n.out, "%s  %s\n", at.Local().Format("15:04:05.000"), fmt.Sprintf(format, arguments...))
}

// event prints the VM events of services only: an idle zone stays quiet.
func (n *narrator) event(msg *nats.Msg) {
	var event pipeline.Event
	if json.Unmarshal(msg.Data, &event) != nil || event.Version == 0 {
		return
	}
	switch {
	case event.VM != nil && event.VM.Service >= 0:
		n.line(event.Heard, "event       %s (service %d)", event.Title(), event.VM.Service)
	case event.Ready != nil:
		n.line(event.Heard, "event       %s READY=%t", event.Title(), *event.Ready)
	}
}

func (n *narrator) transition(msg *nats.Msg) {
	var t pipeline.Transition
	if json.Unmarshal(msg.Data, &t) != nil || t.Version == 0 {
		return
	}
	n.line(t.Time, "service %-3d %s", t.Service, Sentence(t))
}

// Sentence describes a transition and its cause in one line.
func Sentence(t pipeline.Transition) string {
	return fmt.Sprintf("%-52s [%s %s]", t.Text(), t.Cause.Kind, t.Cause.ID)
}

// startServiceLogs writes the transitions of each service, from now on until release, into a file of its own, where
// OpenNebula's onelog searches for OneFlow's. Transitions while the process is down are in the history only.
func startServiceLogs(ctx context.Context, folder string, pipe *pipeline.Pipeline, logger *slog.Logger) (release func(context.Context) error, err error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("create the folder for the services' logs: %w (--api-service-log-dir names it)", err)
	}
	happened := history.New(pipe)
	last, err := happened.LastTransitionSequence(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := happened.ReadTransitions(context.WithoutCancel(ctx), -1, last)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the transitions of services for their logs: %w", err)
	}
	return inBackground(context.WithoutCancel(ctx), func(ctx context.Context) {
		defer reader.Stop()
		for {
			_, transition, err := reader.Next(ctx)
			if err != nil {
				return
			}
			if err := logTransition(folder, transition); err != nil {
				logger.Warn("a line of a service's log could not be written", "service", transition.Service, "error", err)
			}
		}
	}), nil
}

// logTransition appends a line to a service's log in OneFlow's layout: Mon Feb 27 06:02:30 2012 [I]: [SER] message.
func logTransition(folder string, t pipeline.Transition) error {
	severity, component := "I", cmp.Or(map[string]string{"service": "SER", "role": "ROL"}[t.Kind], "LCM")
	if strings.HasPrefix(t.New, "FAILED") || t.New == "WARNING" {
		severity = "E"
	}
	file, err := os.OpenFile(filepath.Join(folder, strconv.Itoa(t.Service)+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s [%s]: [%s] %s\n", t.Time.Local().Format("Mon Jan 02 15:04:05 2006"), severity, component,
		strings.Join(strings.Fields(Sentence(t)), " "))
	return errors.Join(err, file.Close())
}

// Log is the destination and the level of a process's log.
type Log struct {
	*slog.Logger
	level *slog.LevelVar
}

// NewLog returns the log that the configuration asks for: text, one JSON object a line, or lines for journald, which adds
// the time and the level itself.
func NewLog(config Config, out io.Writer) (Log, error) {
	level := new(slog.LevelVar)
	if err := setLevel(level, config.Log.Level); err != nil {
		return Log{}, err
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch format(config.Log.Format) {
	case "json":
		handler = slog.NewJSONHandler(out, options)
	case "journal":
		options.ReplaceAttr = func(groups []string, attribute slog.Attr) slog.Attr {
			if len(groups) == 0 && attribute.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attribute
		}
		handler = slog.NewTextHandler(journal{out}, options)
	default:
		handler = slog.NewTextHandler(out, options)
	}
	return Log{Logger: slog.New(handler), level: level}, nil
}

func setLevel(level *slog.LevelVar, text string) error {
	if level.UnmarshalText([]byte(text)) != nil {
		return fmt.Errorf("log level %q is not one of debug, info, warn and error", text)
	}
	return nil
}

// format returns the requested format; auto means journal if systemd has connected the output to its journal.
func format(asked string) string {
	if asked == "auto" && os.Getenv("JOURNAL_STREAM") != "" {
		return "journal"
	}
	return asked
}

// journal writes lines that begin with a priority as defined in sd-daemon(3), by which `journalctl -p warning` finds them,
// instead of slog's level.
type journal struct{ out io.Writer }

// Write implements io.Writer; slog writes a line at a time.
func (j journal) Write(line []byte) (int, error) {
	first, rest, _ := bytes.Cut(line, []byte(" "))
	var level slog.Level
	_ = level.UnmarshalText(bytes.TrimPrefix(first, []byte("level="))) // slog wrote it
	priority := "<7>"
	switch {
	case level >= slog.LevelError:
		priority = "<3>"
	case level >= slog.LevelWarn:
		priority = "<4>"
	case level >= slog.LevelInfo:
		priority = "<6>"
	}
	if _, err := j.out.Write(append([]byte(priority), rest...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
