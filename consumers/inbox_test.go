package consumers

import (
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

// vmEvent is news of a VM.
func vmEvent(sequence uint64, vm int) pipeline.Input {
	return pipeline.Input{Sequence: sequence, Work: pipeline.Work{Event: &pipeline.Event{Object: "vm", ID: vm, VM: &flow.VM{ID: vm}}}}
}

func commandInput(sequence uint64) pipeline.Input {
	return pipeline.Input{Sequence: sequence, Work: pipeline.Work{Command: &flow.Command{}}}
}

// TestInboxKeepsTheNewestNews: the newest event of each VM, never across a
// command, and every sequence exactly once.
func TestInboxKeepsTheNewestNews(t *testing.T) {
	var b inbox
	for _, input := range []pipeline.Input{
		vmEvent(1, 7), vmEvent(2, 8), vmEvent(3, 7), commandInput(4), vmEvent(5, 7), vmEvent(6, 8), vmEvent(7, 7), commandInput(8),
	} {
		if !b.put(input) {
			t.Fatalf("there is no room for %d", input.Sequence)
		}
	}
	if last, vms := b.vms(); last != 7 || !slices.Equal(vms, []int{8, 7, 8, 7}) {
		t.Errorf("events wait up to %d of the VMs %v", last, vms)
	}
	want := [][]uint64{{2}, {1, 3}, {4}, {6}, {5, 7}, {8}}
	for i, sequences := range want {
		got, waits := b.take()
		if !waits || !slices.Equal(got.sequences, sequences) || got.Sequence != slices.Max(sequences) {
			t.Errorf("the %d. to be taken is %d for %v, want %v", i, got.Sequence, got.sequences, sequences)
		}
	}
	if _, waits := b.take(); waits {
		t.Error("something is left")
	}
}

// TestInboxIsBounded: a storm becomes one look, commands have to wait for room,
// and no sequence is lost.
func TestInboxIsBounded(t *testing.T) {
	var b inbox
	sequence := uint64(0)
	put := func(make func(uint64) pipeline.Input) bool {
		if !b.put(make(sequence + 1)) {
			return false
		}
		sequence++
		return true
	}
	for range 10 {
		put(commandInput)
		for vm := range 3 * maxWaiting {
			if !put(func(n uint64) pipeline.Input { return vmEvent(n, vm) }) {
				t.Fatal("there is no room for an event")
			}
		}
		if len(b.waiting) > maxWaiting {
			t.Fatalf("%d inputs wait", len(b.waiting))
		}
	}
	for put(commandInput) {
		if len(b.waiting) > maxWaiting {
			t.Fatalf("%d inputs wait", len(b.waiting))
		}
	}
	var seen []uint64
	for {
		next, waits := b.take()
		if !waits {
			break
		}
		seen = append(seen, next.sequences...)
	}
	slices.Sort(seen)
	if uint64(len(seen)) != sequence || seen[0] != 1 || seen[len(seen)-1] != sequence {
		t.Errorf("of %d inputs %d came out", sequence, len(seen))
	}
}
