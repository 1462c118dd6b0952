package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
)

// The campaign's length and seed are set by `make chaos`; without it a short one
// with a fixed seed runs with the other tests.
const (
	chaosLength = "CHAOS_LENGTH"
	chaosSeed   = "CHAOS_SEED"
)

// chaos is a campaign: faults at random while clients create, scale, break and
// remove services. The seed gives the faults and their order.
type chaos struct {
	*fleet
	t      *testing.T
	random *rand.Rand // the faults' goroutine only
	log    *journal
	watch  *zoneWatch
	// brought counts the faults by their names.
	brought map[string]int
	// wrong is what the checker has found.
	wrong []string
}

// TestChaos runs the campaign, then heals everything, waits for quiet, and has
// the checker compare documents, VMs and history.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a campaign of faults")
	}
	length, seed := campaign(t)
	t.Logf("seed %d, %s; replay with make chaos SEED=%d", seed, length, seed)
	c := &chaos{fleet: startChaosFleet(t), t: t, random: rand.New(rand.NewPCG(seed, seed)), log: &journal{}, watch: newZoneWatch(), brought: map[string]int{}}
	templates := []int{
		c.id(t, c.request(t, "POST", "/service_template", pair, 201)),
		c.id(t, c.request(t, "POST", "/service_template", netted, 201)),
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() {
			(&client{chaos: c, random: rand.New(rand.NewPCG(seed, uint64(n)+1)), templates: templates}).run(ctx)
		})
	}
	clients.Go(func() { c.watch.run(ctx, c) })
	faults := c.inject(ctx)
	clients.Wait()
	t.Logf("%s", c.faults())
	c.heal()
	t.Logf("%d faults; %s", faults, c.log)
	c.check()
	c.checkZone()
	c.checkDoctor()
}

func campaign(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = 15*time.Second, 1
	var err error
	if text := os.Getenv(chaosLength); text != "" {
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", chaosLength, err)
		}
	}
	if text := os.Getenv(chaosSeed); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", chaosSeed, err)
		}
	}
	return length, seed
}

// fault is something that goes wrong, and how often it does among the others.
type fault struct {
	name   string
	weight int
	bring  func(context.Context)
}

// kinds are the faults; those that cut need namespaces.
func (c *chaos) kinds() []fault {
	kinds := []fault{
		{"kill -9", 4, c.killOne}, {"suspend", 3, c.suspendOne}, {"disturb events", 2, c.disturbEvents},
		{"lose an answer", 2, c.dropAnswer}, {"refuse a call", 1, c.refuseCall}, {"slow oned", 1, c.slowDown},
		{"restart all oneds", 1, c.restartOned}, {"no leader", 1, c.loseLeader}, {"move the leader", 2, c.moveLeader},
		{"kill the leader", 3, c.killLeader}, {"restart a follower", 2, c.restartFollower},
		{"take all connections", 2, c.exhaust},
	}
	if c.network != nil {
		kinds = append(kinds, fault{"cut a front-end off", 2, c.cutOff}, fault{"cut a connection", 3, c.cutBetween})
	}
	return kinds
}

// inject brings one fault after the other until ctx ends, and counts them.
func (c *chaos) inject(ctx context.Context) (count int) {
	var lots []fault
	for _, kind := range c.kinds() {
		for range kind.weight {
			lots = append(lots, kind)
		}
	}
	for {
		pause := time.NewTimer(time.Duration(100+c.random.IntN(900)) * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return count
		case <-pause.C:
		}
		next := lots[c.random.IntN(len(lots))]
		c.brought[next.name]++
		c.t.Logf("%s %s", time.Now().Format(time.TimeOnly+".000"), next.name)
		next.bring(ctx)
		count++
	}
}

// faults says how many there were of each kind.
func (c *chaos) faults() string {
	var said []string
	for _, kind := range c.kinds() {
		said = append(said, fmt.Sprintf("%s %d", kind.name, c.brought[kind.name]))
	}
	return strings.Join(said, ", ")
}

// members are all processes that may die; of the NATS servers one at a time.
func (c *chaos) members() []*process {
	var all []*process
	for _, parts := range [][]*process{c.nats, c.bridges, c.workers, c.api} {
		all = append(all, parts...)
	}
	return all
}

// killOne kills a process with -9 and starts it again a little later.
func (c *chaos) killOne(ctx context.Context) {
	victim := c.members()[c.random.IntN(12)]
	victim.kill()
	c.rest(ctx, 200, 1500)
	victim.again()
}

// suspendOne stops a process for longer than its lease.
func (c *chaos) suspendOne(ctx context.Context) {
	victim := c.members()[c.random.IntN(12)]
	_ = victim.command.Process.Signal(syscall.SIGSTOP)
	c.watch.disturbed(2500*time.Millisecond + afterAPause)
	c.rest(ctx, 300, 2500)
	_ = victim.command.Process.Signal(syscall.SIGCONT)
}

// rest waits between so many milliseconds.
func (c *chaos) rest(ctx context.Context, least, most int) {
	pause := time.NewTimer(time.Duration(least+c.random.IntN(most-least)) * time.Millisecond)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}

func (c *chaos) disturbEvents(context.Context) {
	kind := []string{"drop", "double", "reorder"}[c.random.IntN(3)]
	c.tell("/events", fmt.Sprintf(`{%q: %d}`, kind, 1+c.random.IntN(6)))
}

func (c *chaos) dropAnswer(context.Context) {
	method := []string{"template.instantiate", "template.instantiate", "document.update", "vm.action", "document.allocate", "document.delete"}[c.random.IntN(6)]
	c.tell("/faults/answers", fmt.Sprintf(`{"method": "one.%s", "nth": %d}`, method, 1+c.random.IntN(3)))
}

// refuseCall has oned answer as a follower without a leader does, for a call or
// a few.
func (c *chaos) refuseCall(context.Context) {
	method := []string{"template.instantiate", "document.update", "vm.action", "vm.recover"}[c.random.IntN(4)]
	const internal = 8192
	c.tell("/faults/calls", fmt.Sprintf(`{"method": "one.%s", "nth": 1, "count": %d, "code": %d, "message": "Cannot process request, no leader found"}`,
		method, 1+c.random.IntN(4), internal))
}

func (c *chaos) slowDown(ctx context.Context) {
	c.tell("/delays", fmt.Sprintf(`{"call": "%dms"}`, 10+c.random.IntN(80)))
	c.rest(ctx, 300, 1500)
	c.tell("/delays", `{"call": "1ms"}`)
}

func (c *chaos) restartOned(context.Context) {
	c.watch.starts.add(len(c.plan.Oneds))
	c.tell("/restart", fmt.Sprintf(`{"down": "%dms"}`, 50+c.random.IntN(500)))
}

func (c *chaos) loseLeader(ctx context.Context) {
	c.tell("/leadership/lose", "")
	c.rest(ctx, 100, 800)
	c.tell("/leadership/gain", "")
}

func (c *chaos) moveLeader(context.Context) { c.tell("/leadership/move", "") }

// cutOff cuts a front-end off from everything.
func (c *chaos) cutOff(ctx context.Context) {
	frontEnd := c.random.IntN(len(c.plan.FrontEnds))
	c.cut(ctx, func(cut bool) error { return cutOff(context.Background(), c.network, frontEnd, cut) })
}

// cutBetween cuts a front-end off from another one or from a oned.
func (c *chaos) cutBetween(ctx context.Context) {
	frontEnd := c.random.IntN(len(c.plan.FrontEnds))
	others := slices.Concat(c.plan.Oneds, slices.Delete(slices.Clone(c.plan.FrontEnds), frontEnd, frontEnd+1))
	other := others[c.random.IntN(len(others))]
	c.cut(ctx, func(cut bool) error { return cutBetween(context.Background(), c.network, frontEnd, other, cut) })
}

func (c *chaos) cut(ctx context.Context, cut func(bool) error) {
	if err := cut(true); err != nil {
		c.t.Error(err)
		return
	}
	c.watch.disturbed(5*time.Second + afterACut)
	c.rest(ctx, 300, 5000)
	if err := cut(false); err != nil {
		c.t.Error(err)
	}
}

// tell gives the simulator an order.
func (c *chaos) tell(path, body string) {
	if status, answer := c.try(c.t, "POST", "http://"+c.control+path, body); status != 200 {
		c.t.Errorf("the simulator does not take %s %s: %d %s", path, body, status, answer)
	}
}

// heal ends every fault and has every process run.
func (c *chaos) heal() {
	c.t.Helper()
	if status, _ := c.try(c.t, "DELETE", "http://"+c.control+"/faults", ""); status != 200 {
		c.t.Error("the simulator keeps its faults")
	}
	c.tell("/delays", `{"call": "1ms"}`)
	c.tell("/leadership/move", "")
	for _, member := range c.members() {
		_ = member.command.Process.Signal(syscall.SIGCONT)
		if member.gone() {
			member.again()
		}
	}
	poll.Until(c.t, "the API to be ready", func() bool {
		status, _ := c.try(c.t, "GET", "http://"+c.apis[0]+"/flowjet/v1/health", "")
		return status == 200
	})
	c.cloud.api = c.apis[0]
}
