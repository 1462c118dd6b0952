package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Network is a set of network namespaces, one a front-end, that are joined by a bridge. Its addresses are of 198.18.0.0/15, which
// is for benchmarks and reaches nobody.
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
		// Whoever makes the bridge of a number has the number.
		if refused = ip(ctx, "link", "add", fmt.Sprintf("fj%d", number), "type", "bridge"); refused == nil {
			n.number = number
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
		steps = append(steps,
			[]string{"netns", "add", space},
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

// Namespace is the name of a front-end's namespace; front-ends count from 0.
func (n *Network) Namespace(frontEnd int) string {
	return fmt.Sprintf("flowjet-%d-%d", n.number, frontEnd+1)
}

// FrontEnds are the front-ends' addresses.
func (n *Network) FrontEnds() []string { return n.addresses(1) }

// Oneds are as many addresses for the simulated zone, outside the namespaces.
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
	var failed []error
	for i := range n.frontEnds {
		_ = ip(ctx, "link", "del", n.cable(i))
		if err := ip(ctx, "netns", "del", n.Namespace(i)); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, ip(ctx, "link", "del", n.bridge()))...)
}

func ip(ctx context.Context, arguments ...string) error {
	said, err := exec.CommandContext(ctx, "ip", arguments...).CombinedOutput() //nolint:gosec // our own words only
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}
