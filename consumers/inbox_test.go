package consumers

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/pipeline"
)

// vmEvent is news of a VM.
func vmEvent(sequence uint64, vm int) pipeline.Input {
	return pipeline.Input{Sequence: sequence, Work: pipeline.Work{Event: &pipeline.Event{Object: "vm", ID: vm, VM: &one.VM{ID: vm}}}}
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
	if news, want := b.vms(), map[int]bool{7: true, 8: true}; !maps.Equal(news, want) {
		t.Errorf("of the VMs waits %v, want %v", news, want)
	}
	want := [][]uint64{{2}, {1, 3}, {4}, {6}, {5, 7}, {8}}
	for i, sequences := range want {
		got, waits := b.pop()
		if !waits || !slices.Equal(got.sequences, sequences) || got.Sequence != slices.Max(sequences) {
			t.Errorf("the %d. to be taken is %d for %v, want %v", i, got.Sequence, got.sequences, sequences)
		}
	}
	if _, waits := b.pop(); waits {
		t.Error("something is left")
	}
}

// TestInboxKeepsThatAServiceIsTakenOver: a scan that comes before it is handled replaces the news, and so do too many events.
func TestInboxKeepsThatAServiceIsTakenOver(t *testing.T) {
	for name, later := range map[string]int{"a scan": 1, "many events": maxWaiting + 1} {
		var b inbox
		b.put(pipeline.Input{Sequence: 1, Work: pipeline.Work{Taken: true}})
		for i := range later {
			news := vmEvent(uint64(i+2), i)
			if later == 1 {
				news.Work = pipeline.Work{Scan: true}
			}
			b.put(news)
		}
		if got, _ := b.pop(); len(got.sequences) < 2 || !got.Work.Taken {
			t.Errorf("%s: it is forgotten: %+v", name, got.Work)
		}
	}
}

// TestREADYKeepsTheStateThatWasTold: oned may still show a VM as it was before the event whose place that of READY takes.
func TestREADYKeepsTheStateThatWasTold(t *testing.T) {
	var b inbox
	state, ready := vmEvent(1, 7), vmEvent(2, 7)
	state.Work.Event.VM.State, state.Work.Event.VM.LCMState = one.VMActive, one.LCMRunning
	ready.Work.Event.VM, ready.Work.Event.Ready = nil, new(true)
	b.put(state)
	b.put(ready)
	got, _ := b.pop()
	if !slices.Equal(got.sequences, []uint64{1, 2}) || len(got.reported) != 1 || got.reported[0].LCMState != one.LCMRunning {
		t.Errorf("%v stand for %v", got.reported, got.sequences)
	}
}

// trouble is news of VMs in trouble, a bare wake-up without any.
func trouble(sequence uint64, vms ...int) pipeline.Input {
	input := pipeline.Input{Sequence: sequence}
	for _, vm := range vms {
		input.Work.Trouble = append(input.Work.Trouble, pipeline.Trouble{VM: vm, LCMState: one.LCMState(sequence)})
	}
	return input
}

// TestInboxGathersTrouble: what is to be looked at is looked at once, and a look at
// everything is not given up for one at a few.
func TestInboxGathersTrouble(t *testing.T) {
	cases := map[string]struct {
		put  []pipeline.Input
		want [][]int // the VMs to look at, nil for everything, in order
	}{
		"trouble twice":               {[]pipeline.Input{trouble(1, 7, 8), trouble(2, 5, 8)}, [][]int{{7, 5, 8}}},
		"everything, then trouble":    {[]pipeline.Input{trouble(1), trouble(2, 7)}, [][]int{nil, {7}}},
		"trouble, then everything":    {[]pipeline.Input{trouble(1, 7), trouble(2)}, [][]int{nil}},
		"trouble across a command":    {[]pipeline.Input{trouble(1, 7), commandInput(2), trouble(3, 8)}, [][]int{{7}, nil, {8}}},
		"trouble beside other events": {[]pipeline.Input{vmEvent(1, 7), trouble(2, 7, 8), vmEvent(3, 8)}, [][]int{nil, {7, 8}, nil}},
	}
	for name, c := range cases {
		var b inbox
		var sequences []uint64
		for _, input := range c.put {
			b.put(input)
		}
		var got [][]int
		for next, waits := b.pop(); waits; next, waits = b.pop() {
			var vms []int
			for _, each := range next.Work.Trouble {
				vms = append(vms, each.VM)
				if each.VM == 8 && each.LCMState != one.LCMState(next.Sequence) {
					t.Errorf("%s: of VM 8 an earlier state is kept", name)
				}
			}
			got = append(got, vms)
			sequences = append(sequences, next.sequences...)
		}
		if !reflect.DeepEqual(got, c.want) || len(sequences) != len(c.put) {
			t.Errorf("%s: %v for the inputs %v", name, got, sequences)
		}
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
		next, waits := b.pop()
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

// A scan's wake-up stands for another one only if that was a scan's, too: else what was to be read would not be.
func TestAScanStandsForNoOtherWakeUp(t *testing.T) {
	scan := func(sequence uint64) pipeline.Input {
		return pipeline.Input{Sequence: sequence, Work: pipeline.Work{Scan: true}}
	}
	for name, test := range map[string]struct {
		earlier, later pipeline.Input
		scan           bool
	}{
		"two scans":        {scan(1), scan(2), true},
		"behind a wake-up": {trouble(1), scan(2), false},
		"before a wake-up": {scan(1), trouble(2), false},
		"behind trouble":   {trouble(1, 7), scan(2), false},
		"behind an event":  {vmEvent(1, 7), scan(2), true},
	} {
		var b inbox
		b.put(test.earlier)
		b.put(test.later)
		if last := b.waiting[len(b.waiting)-1]; last.Work.Scan != test.scan {
			t.Errorf("%s: a scan's wake-up: %t, want %t", name, last.Work.Scan, test.scan)
		}
	}
}
