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
	for _, row := range a.whereabouts() {
		fmt.Fprintf(a.out, "  %-13s%s\n", row.what, row.where)
	}
	if a.sim != nil && a.api != nil {
		a.printExample()
	}
	fmt.Fprintln(a.out)
	if a.has(PartNarrator) {
		fmt.Fprint(a.out, "What happens follows, a line each. ")
	}
	fmt.Fprintln(a.out, "Ctrl-C stops.")
}

// externalNATS are the servers that nats.go connects to.
func (a *App) externalNATS() string { return cmp.Or(a.config.NATS.URL, nats.DefaultURL) }

type whereabout struct{ what, where string }

// whereabouts are the addresses that this process listens on or speaks to.
func (a *App) whereabouts() []whereabout {
	var rows []whereabout
	add := func(what, where string) { rows = append(rows, whereabout{what, where}) }
	if a.api != nil {
		scheme := "http://"
		if a.config.API.CertificateFile != "" {
			scheme = "https://"
		}
		add("OneFlow API", scheme+a.api.Addr())
		add("live page", scheme+a.api.Addr()+"/flowjet/")
	}
	if a.statusAddress != "" {
		add("metrics", "http://"+a.statusAddress+"/metrics")
	}
	if a.server != nil {
		add("NATS", a.server.URL())
	} else if a.pipe != nil {
		add("NATS", a.externalNATS()+" (external)")
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
	if a.bridge.Load() != nil || a.sim != nil {
		for _, endpoint := range a.feedEndpoints() {
			add("hook events", endpoint+simulated)
		}
	}
	if a.sim != nil {
		add("simulator", a.sim.ControlURL()+" (breaks VMs and calls on demand)")
	}
	if a.server != nil && a.config.closesNATS() {
		add("NATS keys", absolute(a.config.keysFolder()))
	}
	if a.server != nil || a.sim != nil {
		add("data", absolute(a.config.DataDir))
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
func (a *App) printExample() {
	fmt.Fprintf(a.out, `
Paste this into another terminal to start a service (user oneadmin, password opennebula):

  api=http://%s
  id=$(curl -s -u oneadmin:opennebula $api/service_template -d '{
    "name": "hello", "deployment": "straight",
    "roles": [
      {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
      {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
    ]}' | sed -n 's/.*"ID": "\([0-9]*\)".*/\1/p' | head -1)
  curl -s -u oneadmin:opennebula $api/service_template/$id/action -d '{"action": {"perform": "instantiate"}}'
`, a.api.Addr())
	fmt.Fprintf(a.out, "\nOr see a service's whole life:  %s demo%s\n", os.Args[0], a.demoFlags())
	if a.server != nil {
		fmt.Fprintf(a.out, "And what NATS carries:          nats%s%s sub 'flow.event.>'\n", unless(a.server.URL(), "nats://127.0.0.1:4222", "-s"), a.nkeyFlag())
	}
}

// nkeyFlag names the key that the `nats` command needs, if it needs one of the data folder's.
func (a *App) nkeyFlag() string {
	if !a.config.closesNATS() {
		return ""
	}
	return " --nkey " + filepath.Join(absolute(a.config.keysFolder()), string(pipeline.RoleOperator)+".nk")
}

// demoFlags are what the demo has to be told of where it finds everything.
func (a *App) demoFlags() string {
	flags := unless("http://"+a.api.Addr(), "http://127.0.0.1:2474", "--api")
	if a.server != nil {
		flags += unless(a.server.URL(), "nats://127.0.0.1:4222", "--nats") + unless(filepath.Clean(a.config.DataDir), filepath.Clean(standardDataDir), "--data-dir")
	} else {
		first, _, _ := strings.Cut(a.externalNATS(), ",")
		flags += unless(first, "nats://127.0.0.1:4222", "--nats")
	}
	return flags + unless(a.config.One.XMLRPC[0], "http://127.0.0.1:2633/RPC2", "--one-xmlrpc")
}

// unless is a flag with its value where the default will not do.
func unless(value, standard, flag string) string {
	if value == standard {
		return ""
	}
	return " " + flag + " " + value
}
