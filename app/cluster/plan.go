package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/app"
)

// Ports are the ports that every front-end uses, each on its own address.
type Ports struct{ API, NATS, Route, XMLRPC, Hooks, Control int }

// StandardPorts are those of OneFlow, NATS and oned.
var StandardPorts = Ports{API: 2474, NATS: 4222, Route: 6222, XMLRPC: 2633, Hooks: 2101, Control: 2634}

// Plan lists the processes and their addresses.
type Plan struct {
	FrontEnds         []string
	Oneds             []string // the addresses of the simulated oneds, as many
	Ports             Ports
	DataDir           string   // with a folder for each front-end, and the logs
	Common, Simulator []string // flags for every worker, bridge and API, and for the simulated zone
}

// Member is one process of the cluster.
type Member struct {
	Name      string // worker-2, or sim
	FrontEnd  int    // where it runs, counted from 1; 0 for no front-end
	Listens   string // the address that people use, empty without one
	Arguments []string
}

// Keys returns the folder with the keys of NATS's users, which all servers know.
func (p Plan) Keys() string { return filepath.Join(p.DataDir, "nats") }

// OperatorFile returns the configuration with which flowjet's commands find the cluster.
func (p Plan) OperatorFile() string { return filepath.Join(p.DataDir, "flowjet.yaml") }

func (p Plan) operatorConfig() string {
	return fmt.Sprintf(`# For flowjet's commands: flowjet status --config %s
one:
  xmlrpc: http://%s/RPC2
  auth_file: %s
api:
  listen: %s
nats:
  url: %s
  replicas: %d
  nkey_file: %s
  provision: false
`, p.OperatorFile(), at(p.Oneds[0], p.Ports.XMLRPC), p.AuthFile(), at(p.FrontEnds[0], p.Ports.API), p.NATS(), len(p.FrontEnds),
		filepath.Join(p.Keys(), "{role}.nk"))
}

// Provision returns the arguments with which flowjet makes the streams, once the servers are up.
func (p Plan) Provision() []string {
	return []string{
		"nats", "provision", "--data-dir", p.DataDir, "--nats-url", p.NATS(), "--nats-replicas", strconv.Itoa(len(p.FrontEnds)),
		"--nats-nkey-file", filepath.Join(p.Keys(), "operator.nk"),
	}
}

// Loopback returns so many addresses of the loopback interface. Linux has them all; elsewhere all but the first have to be
// added to the interface.
func Loopback(count int) []string {
	addresses := make([]string, count)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("127.0.0.%d", i+1)
	}
	return addresses
}

func at(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }

// API returns the URL of a front-end's API; front-ends count from 0 here.
func (p Plan) API(frontEnd int) string { return "http://" + at(p.FrontEnds[frontEnd], p.Ports.API) }

// NATS returns the URLs of all NATS servers, with commas.
func (p Plan) NATS() string { return all(p.FrontEnds, "nats://%s", p.Ports.NATS) }

// Control returns the URL of the simulator's control API.
func (p Plan) Control() string { return "http://" + at(p.Oneds[0], p.Ports.Control) }

// AuthFile returns the file to which the simulator writes its credentials.
func (p Plan) AuthFile() string { return filepath.Join(p.DataDir, "zone", app.SimulatedAuthFile) }

// all returns the formatted addresses, with their port, and with commas between them.
func all(addresses []string, format string, port int) string {
	formed := make([]string, len(addresses))
	for i, address := range addresses {
		formed[i] = fmt.Sprintf(format, at(address, port))
	}
	return strings.Join(formed, ",")
}

// Members returns all processes, in the order in which they need each other.
func (p Plan) Members() []Member {
	listen := []string{at(p.Oneds[0], p.Ports.XMLRPC), at(p.Oneds[0], p.Ports.Hooks), at(p.Oneds[0], p.Ports.Control)}
	for _, other := range p.Oneds[1:] {
		listen = append(listen, at(other, p.Ports.XMLRPC), at(other, p.Ports.Hooks))
	}
	members := []Member{{
		Name: "sim", Listens: p.Control(),
		Arguments: append([]string{"sim", "--data-dir", filepath.Join(p.DataDir, "zone"), "--sim-listen", strings.Join(listen, ",")}, p.Simulator...),
	}}
	for i, address := range p.FrontEnds {
		name := fmt.Sprintf("front-end-%d", i+1)
		members = append(members, Member{
			Name: fmt.Sprintf("nats-%d", i+1), FrontEnd: i + 1, Listens: "nats://" + at(address, p.Ports.NATS),
			Arguments: []string{
				"nats", "--data-dir", filepath.Join(p.DataDir, name), "--nats-listen", at(address, p.Ports.NATS), "--nats-name", name,
				"--nats-server-file", filepath.Join(p.Keys(), "cluster.conf"), "--nats-cluster-listen", at(address, p.Ports.Route),
				"--nats-routes", all(p.FrontEnds, "nats://%s", p.Ports.Route),
			},
		})
	}
	for i := range p.FrontEnds {
		members = append(members,
			p.part("worker", i), p.part("bridge", i),
			p.part("api", i, "--api-listen", at(p.FrontEnds[i], p.Ports.API)))
	}
	return members
}

// part returns a worker, bridge or API on a front-end.
func (p Plan) part(kind string, i int, more ...string) Member {
	name := fmt.Sprintf("%s-%d", kind, i+1)
	arguments := []string{
		kind, "--data-dir", filepath.Join(p.DataDir, name), "--nats-url", p.NATS(), "--nats-replicas", strconv.Itoa(len(p.FrontEnds)),
		"--nats-nkey-file", filepath.Join(p.Keys(), "{role}.nk"), "--nats-provision=false", "--one-auth-file", p.AuthFile(),
		"--one-xmlrpc", all(p.Oneds, "http://%s/RPC2", p.Ports.XMLRPC),
		"--one-hooks", all(p.Oneds, "tcp://%s", p.Ports.Hooks),
	}
	member := Member{Name: name, FrontEnd: i + 1, Arguments: append(append(arguments, p.Common...), more...)}
	if kind == "api" {
		member.Listens = p.API(i)
	}
	return member
}

// Network is a set of network namespaces, one a front-end, that are joined by a bridge. Its addresses are from
// 198.18.0.0/15, which is for benchmarks and not routed.
type Network struct {
	number, frontEnds int
}

// maxNetworks bounds how many clusters in namespaces a machine has at once.
const maxNetworks = 200

// ErrNoNamespaces is returned when this process may make no network namespaces.
var ErrNoNamespaces = errors.New("network namespaces need root and the command ip (Debian's package iproute2)")

// NewNetwork makes namespaces for so many front-ends, up to ten. Close removes them.
func NewNetwork(ctx context.Context, frontEnds int) (*Network, error) {
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		return nil, ErrNoNamespaces
	}
	n := &Network{number: -1, frontEnds: frontEnds}
	var refused error
	for number := 1; number <= maxNetworks && n.number < 0; number++ {
		// The process that makes the bridge and the first namespace of a number owns the number: the names of namespaces are the whole
		// machine's, those of bridges are not if this process is in a namespace itself.
		if refused = ip(ctx, "link", "add", fmt.Sprintf("fj%d", number), "type", "bridge"); refused != nil {
			continue
		}
		n.number = number
		if refused = ip(ctx, "netns", "add", n.Namespace(0)); refused != nil {
			_ = ip(ctx, "link", "del", n.bridge())
			n.number = -1
		}
	}
	if n.number < 0 {
		return nil, fmt.Errorf("%w: %w", ErrNoNamespaces, refused)
	}
	steps := [][]string{{"link", "set", n.bridge(), "up"}, {"address", "add", n.address(254) + "/24", "dev", n.bridge()}}
	for _, address := range n.Oneds() {
		steps = append(steps, []string{"address", "add", address + "/24", "dev", n.bridge()})
	}
	for i := range n.frontEnds {
		space, cable := n.Namespace(i), n.cable(i)
		if i > 0 {
			steps = append(steps, []string{"netns", "add", space})
		}
		steps = append(steps,
			[]string{"link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space},
			[]string{"link", "set", cable, "master", n.bridge(), "up"},
			[]string{"-n", space, "address", "add", n.address(i+1) + "/24", "dev", "eth0"},
			[]string{"-n", space, "link", "set", "eth0", "up"},
			[]string{"-n", space, "link", "set", "lo", "up"})
	}
	for _, step := range steps {
		if err := ip(ctx, step...); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

func (n *Network) bridge() string            { return fmt.Sprintf("fj%d", n.number) }
func (n *Network) cable(frontEnd int) string { return fmt.Sprintf("fj%d-%d", n.number, frontEnd+1) }
func (n *Network) address(host int) string   { return fmt.Sprintf("198.18.%d.%d", n.number, host) }

// Namespace returns the name of a front-end's namespace; front-ends count from 0.
func (n *Network) Namespace(frontEnd int) string {
	return fmt.Sprintf("flowjet-%d-%d", n.number, frontEnd+1)
}

// FrontEnds returns the front-ends' addresses.
func (n *Network) FrontEnds() []string { return n.addresses(1) }

// Oneds returns as many addresses for the simulated zone, outside the namespaces.
func (n *Network) Oneds() []string { return n.addresses(11) }

func (n *Network) addresses(first int) []string {
	list := make([]string, n.frontEnds)
	for i := range list {
		list[i] = n.address(first + i)
	}
	return list
}

// Close removes the namespaces and the bridge. Processes in them lose their network.
func (n *Network) Close() error {
	ctx := context.Background()
	var failed error
	for i := range n.frontEnds {
		_ = ip(ctx, "link", "del", n.cable(i))
		failed = errors.Join(failed, ip(ctx, "netns", "del", n.Namespace(i)))
	}
	return errors.Join(failed, ip(ctx, "link", "del", n.bridge()))
}

func ip(ctx context.Context, arguments ...string) error {
	said, err := exec.CommandContext(ctx, "ip", arguments...).CombinedOutput() //nolint:gosec // our own words only
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
