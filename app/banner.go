package app

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// PrintWelcome says what listens where and what to try first.
func (a *App) PrintWelcome() {
	fmt.Fprintf(a.out, "Flowjet %s is running.\n\n", a.version)
	rows := welcome{a}.whereabouts()
	for _, row := range rows {
		fmt.Fprintf(a.out, "  %-13s%s\n", row.what, row.where)
	}
	if a.sim != nil && a.api != nil {
		welcome{a}.printExample()
	}
	fmt.Fprintln(a.out)
	if a.has(PartNarrator) {
		fmt.Fprint(a.out, "Events follow, one per line. ")
	}
	fmt.Fprintln(a.out, "Ctrl-C stops.")
}

// externalNATS are the servers that nats.go connects to.
func (w welcome) externalNATS() string { return cmp.Or(w.config.NATS.URL, nats.DefaultURL) }

// pagePath is where the API has the live page.
const pagePath = "/flowjet/"

type whereabout struct{ what, where string }

// whereabouts are the addresses that this process listens on or speaks to.
func (w welcome) whereabouts() []whereabout {
	var rows []whereabout
	add := func(what, where string) { rows = append(rows, whereabout{what, where}) }
	if w.api != nil {
		scheme := "http://"
		if w.config.API.CertificateFile != "" {
			scheme = "https://"
		}
		add("OneFlow API", scheme+w.api.Addr())
		add("live page", scheme+w.api.Addr()+pagePath)
	}
	if w.statusAddress != "" {
		add("metrics", "http://"+w.statusAddress+"/metrics")
	}
	if w.server != nil {
		add("NATS", w.server.URL())
	} else if w.pipe != nil {
		add("NATS", w.externalNATS()+" (external)")
	}
	simulated := ""
	if w.sim != nil {
		simulated = " (simulated)"
	}
	if w.oned != nil || w.sim != nil {
		for _, endpoint := range w.config.One.XMLRPC {
			add("oned", endpoint+simulated)
		}
	}
	if w.bridge.Load() != nil || w.sim != nil {
		endpoints := bridging(w).feedEndpoints()
		for _, endpoint := range endpoints {
			add("hook events", endpoint+simulated)
		}
	}
	if w.sim != nil {
		add("simulator", w.sim.ControlURL()+" (breaks VMs and calls on demand)")
	}
	if w.server != nil && w.config.closesNATS() {
		add("NATS keys", absolute(w.config.keysFolder()))
	}
	if w.server != nil || w.sim != nil {
		add("data", absolute(w.config.DataDir))
	}
	return rows
}

// absolute is a folder as a person in another one finds it.
func absolute(folder string) string {
	if path, err := filepath.Abs(folder); err == nil {
		return path
	}
	return folder
}

// printExample is a template and its instantiation, ready to be pasted, and
// what shows more.
func (w welcome) printExample() {
	fmt.Fprintf(w.out, `
Paste this into another terminal to start a service:

  echo '{"name": "hello", "deployment": "straight", "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
    {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
  ]}' | %[1]s template create -%[2]s
  %[1]s template instantiate hello --wait%[2]s
`, os.Args[0], w.userFlags())
	fmt.Fprintf(w.out, "\nSee a service's whole life:  %s demo%s\n", os.Args[0], w.demoFlags())
	if w.server != nil {
		fmt.Fprintf(w.out, "How everything is doing:     %s status%s\n", os.Args[0],
			unless(w.server.URL(), "nats://127.0.0.1:4222", "--nats-url")+unless(filepath.Clean(w.config.DataDir), filepath.Clean(standardDataDir), "--data-dir"))
		fmt.Fprintf(w.out, "The services in a browser:   http://%s%s\n", w.api.Addr(), pagePath)
		fmt.Fprintf(w.out, "Messages on NATS:            nats%s%s sub 'flow.event.>'\n", unless(w.server.URL(), "nats://127.0.0.1:4222", "-s"), w.nkeyFlag())
	}
}

// nkeyFlag names the key that the `nats` command needs, if it needs one of the data folder's.
func (w welcome) nkeyFlag() string {
	if !w.config.closesNATS() {
		return ""
	}
	return " --nkey " + filepath.Join(absolute(w.config.keysFolder()), string(pipeline.RoleOperator)+".nk")
}

// demoFlags are what the demo has to be told of where it finds everything.
func (w welcome) demoFlags() string {
	flags := unless("http://"+w.api.Addr(), "http://127.0.0.1:2474", "--api")
	if w.server != nil {
		flags += unless(w.server.URL(), "nats://127.0.0.1:4222", "--nats") + unless(filepath.Clean(w.config.DataDir), filepath.Clean(standardDataDir), "--data-dir")
	} else {
		first, _, _ := strings.Cut(w.externalNATS(), ",")
		flags += unless(first, "nats://127.0.0.1:4222", "--nats")
	}
	return flags + unless(w.config.One.XMLRPC[0], "http://127.0.0.1:2633/RPC2", "--one-xmlrpc")
}

// userFlags are what a user's command has to be told of where it finds the API and its credentials.
func (w welcome) userFlags() string {
	flags := unless("http://"+w.api.Addr(), "http://127.0.0.1:2474", "--endpoint")
	if filepath.Clean(w.config.DataDir) != filepath.Clean(standardDataDir) {
		flags += " --auth-file " + filepath.Join(absolute(w.config.DataDir), simulatedUserFile)
	}
	return flags
}

// unless is a flag with its value where the default will not do.
func unless(value, standard, flag string) string {
	if value == standard {
		return ""
	}
	return " " + flag + " " + value
}

// welcome is what is printed at the start.
type welcome struct{ *App }
