package sim_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// TestBurstArrivesWholeAndInOrder boots 2,000 VMs at once: 10,000 changes of
// state, every one of which a subscriber has to get, each VM's in order.
func TestBurstArrivesWholeAndInOrder(t *testing.T) {
	const vms, changes = 2000, 5
	s := start(t, sim.Config{BootDelay: sim.NoDelay})
	events := subscribe(t, s, "EVENT STATE ")
	parallel(8, vms, func(i int) { instantiate(t, s, fmt.Sprintf("vm-%d", i), "") })
	poll.Until(t, "all VMs have booted", func() bool { return len(events.all()) >= vms*changes })
	lives := map[string][]string{}
	for _, m := range events.all() {
		state, id, _ := cutLast(strings.TrimSpace(strings.TrimPrefix(m.key, "EVENT STATE VM/")), "/")
		lives[id] = append(lives[id], state)
	}
	want := []string{"PENDING/LCM_INIT", "ACTIVE/LCM_INIT", "ACTIVE/PROLOG", "ACTIVE/BOOT", "ACTIVE/RUNNING"}
	if len(lives) != vms {
		t.Fatalf("%d VMs were heard of", len(lives))
	}
	for id, life := range lives {
		if !slices.Equal(life, want) {
			t.Fatalf("VM %s went through %q", id, life)
		}
	}
}

// parallel calls a function n times from some goroutines.
func parallel(workers, n int, do func(i int)) {
	next := make(chan int)
	done := make(chan struct{})
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range next {
				do(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		<-done
	}
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// dialHooks opens a bare TCP connection to the hook events.
func dialHooks(t *testing.T, s *sim.Sim) net.Conn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.HooksEndpoint(), "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestPeerWithoutHandshakeHoldsNobodyUp has somebody connect who says nothing.
func TestPeerWithoutHandshakeHoldsNobodyUp(t *testing.T) {
	s := start(t, sim.Config{})
	dialHooks(t, s)
	events := subscribe(t, s, "EVENT ")
	id := instantiate(t, s, "vm", "")
	events.await(t, fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", id), 1)
}

// TestStoppedSubscriberHoldsNobodyUp has a subscriber that never reads while
// another one gets everything.
func TestStoppedSubscriberHoldsNobodyUp(t *testing.T) {
	s := start(t, sim.Config{BootDelay: sim.NoDelay, HooksHighWater: 1000})
	// In this order: the one that subscribes to everything would be taken for the other one.
	events := subscribe(t, s, "EVENT STATE VM/ACTIVE/RUNNING/")
	stopped := dialHooks(t, s)
	greet(t, stopped)
	if err := s.WaitSubscribed(t.Context(), "nothing else"); err != nil {
		t.Fatal(err)
	}
	const vms = 1000
	parallel(8, vms, func(i int) { instantiate(t, s, fmt.Sprintf("vm-%d", i), "") })
	poll.Until(t, "the other subscriber has everything", func() bool { return len(events.all()) == vms })
}

// greet is a subscriber's side of ZMTP 3.0 with a subscription to everything.
func greet(t *testing.T, conn net.Conn) {
	t.Helper()
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10] = 0xff, 0x7f, 3
	copy(greeting[12:], "NULL")
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
	frames := string(greeting) + string([]byte{4, byte(len(ready))}) + ready + "\x00\x01\x01"
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, frames); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
}
