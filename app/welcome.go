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

// PrintWelcome prints what listens where and what to try first.
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

// printAddresses prints the addresses that this process listens on or speaks to.
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

// absolute is a folder as a person in another one finds it.
func absolute(folder string) string {
	if path, err := filepath.Abs(folder); err == nil {
		return path
	}
	return folder
}

// printExample is a template and its instantiation, ready to be pasted, and what shows more.
func (a *App) printExample() {
	const natsURL = "nats://127.0.0.1:4222"
	api := "http://" + a.api.Addr()
	// What commands have to be told of where they find everything.
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
		key := "" // that the `nats` command needs, if it needs one of the data folder's
		if a.config.NATS.ServerFile == "" {
			key = " --nkey " + filepath.Join(absolute(a.config.keysFolder()), string(pipeline.RoleOperator)+".nk")
		}
		fmt.Fprintf(a.out, "How everything is doing:     %s status%s\n", os.Args[0], unless(a.server.URL(), natsURL, "--nats-url")+folder)
		fmt.Fprintf(a.out, "The services in a browser:   %s%s\n", api, pagePath)
		fmt.Fprintf(a.out, "Messages on NATS:            nats%s%s sub 'flow.event.>'\n", unless(a.server.URL(), natsURL, "-s"), key)
	}
}

// unless is a flag with its value where the default will not do.
func unless(value, standard, flag string) string {
	if value == standard {
		return ""
	}
	return " " + flag + " " + value
}
