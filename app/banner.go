package app

import (
	"fmt"
	"text/tabwriter"
)

// PrintWelcome says what listens where and what to try first.
func (a *App) PrintWelcome() {
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	row := func(what, where, note string) { fmt.Fprintf(table, "  %s\t%s\t%s\n", what, where, note) }
	fmt.Fprintln(a.out, "Flowjet is running.")
	fmt.Fprintln(a.out)
	if a.api != nil {
		row("OneFlow API", "http://"+a.api.Addr(), "")
	}
	if a.server != nil {
		row("NATS", a.server.URL(), "watch: nats sub 'flow.event.>'")
	} else if a.pipe != nil {
		row("NATS", a.config.NATS.URL, "external")
	}
	if a.oned != nil || a.sim != nil {
		row("oned", a.config.One.XMLRPC, "")
	}
	if a.bridge != nil || a.sim != nil {
		for _, endpoint := range a.config.One.Hooks {
			row("hook events", endpoint, "")
		}
	}
	if a.sim != nil {
		row("simulator", a.sim.ControlURL(), "oned and its hosts are simulated")
	}
	if a.server != nil || a.sim != nil {
		row("data", a.config.DataDir, "")
	}
	_ = table.Flush()
	if a.sim != nil && a.api != nil {
		a.printExample()
	}
	fmt.Fprintln(a.out)
	if a.has(PartNarrator) {
		fmt.Fprint(a.out, "What happens follows, a line each. ")
	}
	fmt.Fprintln(a.out, "Ctrl-C stops.")
}

// printExample is a template and its instantiation, ready to be pasted.
func (a *App) printExample() {
	fmt.Fprintf(a.out, `
Try this in another terminal (user oneadmin, password opennebula):

  api=http://%s
  id=$(curl -s -u oneadmin:opennebula $api/service_template -d '{
    "name": "hello", "deployment": "straight",
    "roles": [
      {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
      {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
    ]}' | sed -n 's/.*"ID": "\([0-9]*\)".*/\1/p' | head -1)
  curl -s -u oneadmin:opennebula $api/service_template/$id/action -d '{"action": {"perform": "instantiate"}}'
`, a.api.Addr())
}
