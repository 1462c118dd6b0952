package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app/cluster"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestFrontEndsMayBeCutOff cuts front-ends off while services deploy, wholly and
// from parts of the others: every service comes to RUNNING with its VMs once.
func TestFrontEndsMayBeCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("starts thirteen processes in network namespaces")
	}
	f := startSplitFleet(t)
	f.cloud.api = f.apis[2]
	template := f.id(t, f.request(t, "POST", "/service_template", pair, 201))
	var services []int
	instantiate := func(count int) {
		for range count {
			services = append(services, f.anywhere(t, template))
		}
	}
	oned := strings.TrimSuffix(f.plan.Oneds[0], "/32")
	cuts := []struct {
		name string
		cut  func(cut bool) error
	}{
		{"front-end 1 from everything", func(cut bool) error { return cutOff(t.Context(), f.network, 0, cut) }},
		{"front-end 2 from the leading oned", func(cut bool) error { return cutBetween(t.Context(), f.network, 1, oned, cut) }},
		{"front-end 1 from the NATS server of 2", func(cut bool) error { return cutBetween(t.Context(), f.network, 0, f.plan.FrontEnds[1], cut) }},
		{"front-end 1 from the NATS server of 3", func(cut bool) error { return cutBetween(t.Context(), f.network, 0, f.plan.FrontEnds[2], cut) }},
		{"front-end 2 from the NATS server of 3", func(cut bool) error { return cutBetween(t.Context(), f.network, 1, f.plan.FrontEnds[2], cut) }},
	}
	for _, one := range cuts {
		instantiate(3)
		if err := one.cut(true); err != nil {
			t.Fatal(err)
		}
		instantiate(3)
		f.running(t, services, "cut: "+one.name)
		if err := one.cut(false); err != nil {
			t.Fatal(err)
		}
		instantiate(1)
		f.running(t, services, "mended: "+one.name)
	}
	f.fourEach(t, services)
}

// running waits until all services run.
func (f *fleet) running(t *testing.T, services []int, when string) {
	t.Helper()
	began := time.Now()
	for _, service := range services {
		poll.Until(t, fmt.Sprintf("service %d to be RUNNING (%s)", service, when), func() bool { return f.state(t, service) == 2 })
	}
	t.Logf("%s: all %d services run after %s", when, len(services), time.Since(began).Round(time.Millisecond))
}

// cutOff pulls a front-end's cable, or puts it back.
func cutOff(ctx context.Context, network *cluster.Network, frontEnd int, cut bool) error {
	state := "up"
	if cut {
		state = "down"
	}
	cable := strings.Replace(network.Namespace(frontEnd), "flowjet-", "fj", 1)
	return ip(ctx, "link", "set", cable, state)
}

// cutBetween drops what a front-end sends to an address, so that no connection
// between the two works, or ends that.
func cutBetween(ctx context.Context, network *cluster.Network, frontEnd int, address string, cut bool) error {
	what := "del"
	if cut {
		what = "add"
	}
	return ip(ctx, "-n", network.Namespace(frontEnd), "route", what, "blackhole", address+"/32")
}

func ip(ctx context.Context, arguments ...string) error {
	if said, err := exec.CommandContext(ctx, "ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, said)
	}
	return nil
}
