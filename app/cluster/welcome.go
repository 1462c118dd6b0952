package cluster

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// printWelcome says what is where, how to break it, and how to watch.
func (r *runner) printWelcome() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	plan, out := r.config.Plan, r.config.Out
	order := map[string]int{}
	for i, member := range plan.Members() {
		order[member.Name] = i
	}
	slices.SortFunc(r.lines, func(a, b line) int { return cmp.Compare(order[a.member.Name], order[b.member.Name]) })
	fmt.Fprintf(out, "Flowjet runs on %d front-ends.\n\n  %-9s %-8s %-28s %s\n", len(plan.FrontEnds), "part", "process", "listens on", "log")
	pids := map[string]int{}
	for _, line := range r.lines {
		pids[line.member.Name] = line.pid
		fmt.Fprintf(out, "  %-9s %-8d %-28s %s\n", line.member.Name, line.pid, cmp.Or(line.member.Listens, "-"), r.logOf(line.member))
	}
	fmt.Fprintf(out, "  oneds: %s; server 0 leads.\n  page: %s/flowjet/; user oneadmin, password opennebula.\n", plan.all(plan.Oneds, func(address string) string {
		return "http://" + at(address, plan.Ports.XMLRPC) + "/RPC2"
	}), plan.API(0))
	r.printExample()
	r.printBreaking(pids)
	fmt.Fprintf(out, "\nWatch:\n  %[1]s status --config %[2]s\n  %[1]s doctor --config %[2]s\n", os.Args[0], plan.OperatorFile())
	fmt.Fprintf(out, "  nats -s %s --nkey %s sub 'flow.event.>'\n  tail -f %s/*.log\n  curl -s %s/state\n\nCtrl-C stops everything.\n",
		strings.Split(plan.NATS(), ",")[0], filepath.Join(plan.Keys(), "operator.nk"), r.logs(), plan.Control())
}

func (r *runner) printExample() {
	fmt.Fprintf(r.config.Out, `
Start a service (on any front-end):
  export ONEFLOW_URL=%[2]s ONEFLOW_USER=oneadmin ONEFLOW_PASSWORD=opennebula
  echo '{"name": "hello", "deployment": "straight", "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
    {"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}
  ]}' | %[1]s template create -
  %[1]s template instantiate hello --wait
`, os.Args[0], r.config.Plan.API(0))
}

func (r *runner) printBreaking(pids map[string]int) {
	plan, out := r.config.Plan, r.config.Out
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
