// Package presence lets the processes of Flowjet know each other, so that they can divide the
// connections that oned can bear.
package presence

import (
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
)

const (
	// beat is how often a process announces itself, and deadAfter how long it may be silent.
	beat      = 250 * time.Millisecond
	deadAfter = 4 * beat
)

// Presence is a process among the live ones.
//
// Safety: none; for a second two processes may count differently. Liveness: a process
// that is gone is no longer counted after a second, one that leaves at once.
type Presence struct {
	core   *js.Client
	schema int
	self   func() pipeline.Process
	others *liveness.Set[pipeline.Process]
	liveness.Announcer
}

// Announce announces a process, as self describes it each time, until Leave. self
// sets all fields but the version.
func Announce(p *pipeline.Pipeline, self func() pipeline.Process) (*Presence, error) {
	others, err := liveness.Listen(p.Conn(), pipeline.SubjectsProcess, deadAfter, func(said pipeline.Process) (string, bool) {
		if said.ID == self().ID {
			return "", false
		}
		return said.ID, said.Leaving
	})
	if err != nil {
		return nil, err
	}
	presence := &Presence{core: p.Client, schema: p.Schema(), self: self, others: others}
	presence.announce(false)
	presence.Announcer = liveness.Announce(presence.core.Life(), beat, presence.announce)
	return presence, nil
}

// Others returns the other live processes, by id.
func (p *Presence) Others() []pipeline.Process {
	live := p.others.Live()
	var others []pipeline.Process
	for _, id := range slices.Sorted(maps.Keys(live)) {
		others = append(others, live[id])
	}
	return others
}

func (p *Presence) announce(leaving bool) {
	if leaving {
		p.others.Stop()
	}
	said := p.self()
	said.Version, said.Leaving = p.schema, leaving
	if err := p.core.Announce(pipeline.ProcessSubject(said.ID), pipeline.Encode(said)); err != nil {
		p.core.Log().Debug("the presence of this process could not be announced", "error", err)
	}
}

// ShareConnections returns how many of a number of connections a process may use, of
// those that share them; it is counted among them. If there are more processes than
// connections, they alternate by the second.
func ShareConnections(connections int, process string, others []pipeline.Process, now time.Time) int {
	calling := []string{process}
	for _, other := range others {
		if other.Calling {
			calling = append(calling, other.ID)
		}
	}
	slices.Sort(calling)
	index, count := slices.Index(calling, process), len(calling)
	if count > connections {
		slot := int(now.Unix() % int64(count))
		if (index-slot*connections%count+count)%count < connections {
			return 1
		}
		return 0
	}
	share := connections / count
	if index < connections%count {
		share++
	}
	return share
}
