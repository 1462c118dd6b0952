package consumers

import (
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// maxWaiting bounds the inputs that wait for one service.
const maxWaiting = 256

// inbox holds a service's waiting inputs, in order. Of events about the same object between two commands only the newest is kept: a service
// is woken to check the current state. If there still are too many, one check of everything replaces them.
type inbox struct {
	waiting []delivery
	// write asks for the service's document to be written when no input waits.
	write bool
}

// delivery is an input, and the sequences of the inputs that it stands for, its own last.
type delivery struct {
	pipeline.Input
	sequences []uint64
	came      time.Time
	// reported are the states of VMs that the input reports, or that the news reported which it replaces.
	reported []pipeline.Trouble
	// writes is set instead of an input: the service's document is to be written.
	writes bool
}

// put adds an input; false means that there is no room.
func (b *inbox) put(input pipeline.Input) bool {
	added := delivery{Input: input, sequences: []uint64{input.Sequence}, came: time.Now(), reported: reportedStates(input.Work)}
	if !isNews(input.Work) {
		if len(b.waiting) >= maxWaiting {
			return false
		}
		b.waiting = append(b.waiting, added)
		return true
	}
	first := len(b.waiting) // of the news that nothing but news follows
	for first > 0 && isNews(b.waiting[first-1].Work) {
		first--
	}
	for i := first; i < len(b.waiting); i++ {
		if earlier := b.waiting[i]; sameSubject(earlier.Work, input.Work) {
			added.sequences = slices.Concat(earlier.sequences, added.sequences)
			added.Work.Trouble = union(earlier.Work.Trouble, input.Work.Trouble)
			added.Work.Scan = earlier.Work.Scan && input.Work.Scan
			added.Work.Taken = earlier.Work.Taken || input.Work.Taken
			if added.reported = reportedStates(added.Work); added.reported == nil { // a check of everything, or READY of the VM
				added.reported = earlier.reported
			}
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			break
		}
	}
	if b.waiting = append(b.waiting, added); len(b.waiting) > maxWaiting {
		b.condense(first)
	}
	return true
}

// reportedStates returns the states of VMs that work reports.
func reportedStates(work pipeline.Work) []pipeline.Trouble {
	if event := work.Event; event != nil && event.VM != nil {
		return []pipeline.Trouble{pipeline.TroubleOf(*event.VM)}
	}
	return work.Trouble
}

// isNews reports whether the work only makes the service check its state.
func isNews(work pipeline.Work) bool {
	return work.Command == nil && work.Timer == nil && work.Measures == nil && !work.Lost && !work.Newer
}

// sameSubject reports whether a later piece of news, with union's, makes an earlier one superfluous.
func sameSubject(earlier, later pipeline.Work) bool {
	a, b := earlier.Event, later.Event
	if a == nil || b == nil {
		everything := earlier.Trouble == nil
		return a == b && (!everything || later.Trouble == nil)
	}
	return a.Object == b.Object && a.ID == b.ID
}

// union returns the trouble that a later piece of news reports once it stands for an earlier one too: the later of each VM. News without
// trouble makes a service check everything, or is an event.
func union(earlier, later []pipeline.Trouble) []pipeline.Trouble {
	if later == nil {
		return nil
	}
	reported := map[int]bool{}
	for _, one := range later {
		reported[one.VM] = true
	}
	kept := slices.DeleteFunc(slices.Clone(earlier), func(one pipeline.Trouble) bool { return reported[one.VM] })
	return append(kept, later...)
}

// condense replaces the news from first on by one check of everything.
func (b *inbox) condense(first int) {
	var all []uint64
	taken := false
	reported := map[int]pipeline.Trouble{} // of each VM the last
	for _, one := range b.waiting[first:] {
		all = append(all, one.sequences...)
		taken = taken || one.Work.Taken
		for _, state := range one.reported {
			reported[state.VM] = state
		}
	}
	last := b.waiting[len(b.waiting)-1]
	last.Work = pipeline.Work{Version: pipeline.Version, Service: last.Work.Service, Reason: "more events than can be queued", Taken: taken}
	last.sequences, last.reported = all, slices.Collect(maps.Values(reported))
	b.waiting = append(b.waiting[:first], last)
}

func (b *inbox) hasCommand() bool {
	return slices.ContainsFunc(b.waiting, func(one delivery) bool { return one.Work.Command != nil })
}

// pop removes the first.
func (b *inbox) pop() (delivery, bool) {
	if len(b.waiting) == 0 {
		writes := b.write
		b.write = false
		return delivery{writes: writes}, writes
	}
	first := b.waiting[0]
	b.waiting[0] = delivery{}
	if b.waiting = b.waiting[1:]; len(b.waiting) == 0 {
		b.waiting = nil
	}
	return first, true
}

// vms returns the VMs of waiting news, and whether the news has the VM's state.
func (b *inbox) vms() map[int]bool {
	found := map[int]bool{}
	for _, one := range b.waiting {
		for _, vm := range vmsOfNews(one.Work) {
			isReady := one.Work.Event != nil && one.Work.Event.Ready != nil
			found[vm] = found[vm] || !isReady
		}
	}
	return found
}

// vmsOfNews returns the VMs of a piece of news.
func vmsOfNews(work pipeline.Work) []int {
	if event := work.Event; event != nil && (event.VM != nil || event.Ready != nil) {
		return []int{event.ID}
	}
	vms := make([]int, len(work.Trouble))
	for i, one := range work.Trouble {
		vms[i] = one.VM
	}
	return vms
}
