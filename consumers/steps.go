package consumers

import (
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

// steps are the parts of a service loop, each with what only it has to know. They
// share what is known of the service, and call each other through the loop.
type steps struct {
	slot      *slot
	loader    *loader
	ingester  *ingester
	finder    *finder
	actor     *actor
	executor  *executor
	networks  *networks
	routers   *routers
	saver     *saver
	responder *responder
	orphans   *orphans
}

func newServiceLoop(w *Worker, p *partition, service int) *serviceLoop {
	l := &serviceLoop{worker: w, partition: p, service: service, wake: make(chan struct{}, 1)}
	l.steps = steps{
		slot:      &slot{serviceLoop: l},
		loader:    &loader{serviceLoop: l},
		ingester:  &ingester{serviceLoop: l, heard: heardStates{}},
		finder:    &finder{serviceLoop: l},
		actor:     &actor{serviceLoop: l},
		executor:  &executor{serviceLoop: l},
		networks:  &networks{serviceLoop: l},
		routers:   &routers{serviceLoop: l},
		saver:     &saver{serviceLoop: l},
		responder: &responder{serviceLoop: l},
		orphans:   &orphans{serviceLoop: l},
	}
	return l
}

// slot is the loop's slot among those that may work at once.
type slot struct {
	*serviceLoop
	// placed reports whether the loop has one of the slots, and calling
	// whether it makes one of the calls that may be made at once.
	placed, calling bool
}

// loader reads the record and the document, and decides which of them is believed.
type loader struct {
	*serviceLoop
	// seen and made are what the input carries of the document, of one that was just made.
	seen *flow.SeenDocument
	made *foundDocument
	// rewrites reports whether the input asks for a document that cannot be read to be written
	// again, and rewritten whether that was done.
	rewrites, rewritten bool
	// read is when the document was asked for last.
	read time.Time
	// life is that of oned in which the input is handled.
	life opennebula.Life
}

// ingester takes up how the VMs and networks are, from events and from what oned says.
type ingester struct {
	*serviceLoop
	// refreshed are the VMs that were looked at while news about them waited, with the
	// sequence up to which that is old, and refreshedAt is when that look began.
	refreshed   map[int]uint64
	refreshedAt time.Time
	heard       heardStates
	// strangers are the nodes that oned's leader said are not the service's, when strangersOf
	// owned it.
	strangers   []int
	strangersOf int
	strangersAt time.Time
}

// finder looks for VMs that an earlier call may have made.
type finder struct {
	*serviceLoop
	searched search // the last look
}

// actor is as whom calls are made.
type actor struct {
	*serviceLoop
	// acts is as whom calls are made for the owner actsFor.
	acts     string
	actsFor  one.Identity
	regroups bool // what is made is given to the service's group afterwards
}

// executor makes the calls that were decided on.
type executor struct{ *serviceLoop }

// networks makes, finds, observes and deletes the service's own virtual networks.
type networks struct{ *serviceLoop }

// routers makes, finds and deletes virtual routers.
type routers struct{ *serviceLoop }

// responder answers commands.
type responder struct{ *serviceLoop }

// orphans ends what came after its service had ended, or for one that is gone.
type orphans struct{ *serviceLoop }
