package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// presenceBeat is how often a process announces itself, and presenceDead how
	// long it may be silent.
	presenceBeat = 250 * time.Millisecond
	presenceDead = 4 * presenceBeat
	// maxProcesses bounds what a presence remembers.
	maxProcesses = 1024
)

// Process is what a process of Flowjet announces of itself.
type Process struct {
	Version int    `json:"v"`
	ID      string `json:"process"`
	// Calling reports whether it makes calls to oned.
	Calling bool `json:"calling,omitempty"`
	// Servers are the XML-RPC addresses of the zone's servers that it knows.
	Servers []string `json:"servers,omitempty"`
	OnedReads
	Leaving bool `json:"leaving,omitempty"`
}

// Presence is a process's place among the live ones, so that what oned can bear is
// shared out among all of them.
//
// Safety: none; for a second two processes may count differently. Liveness: a process
// that is gone is no longer counted after a second, one that leaves at once.
type Presence struct {
	pipeline     *Pipeline
	self         func() Process
	subscription *nats.Subscription
	end          context.CancelFunc
	done         chan struct{}

	mutex sync.Mutex
	heard map[string]heardProcess
}

type heardProcess struct {
	Process
	at time.Time
}

// Announce announces a process, as self describes it each time, until Leave. self is
// asked for all but the version.
func (p *Pipeline) Announce(self func() Process) (*Presence, error) {
	presence := &Presence{pipeline: p, self: self, done: make(chan struct{}), heard: map[string]heardProcess{}}
	var err error
	if presence.subscription, err = p.conn.Subscribe(SubjectsProcess, presence.hear); err != nil {
		return nil, fmt.Errorf("listen for the other processes: %w", err)
	}
	life, end := context.WithCancel(p.life)
	presence.end = end
	go presence.run(life)
	return presence, nil
}

// Others returns the live processes but this one, by id.
func (p *Presence) Others() []Process {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.heard, func(_ string, heard heardProcess) bool { return now.Sub(heard.at) > presenceDead })
	var others []Process
	for _, id := range slices.Sorted(maps.Keys(p.heard)) {
		others = append(others, p.heard[id].Process)
	}
	return others
}

// Leave tells the others that the process is gone.
func (p *Presence) Leave(ctx context.Context) {
	p.end()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
}

func (p *Presence) run(ctx context.Context) {
	defer close(p.done)
	ticker := time.NewTicker(presenceBeat)
	defer ticker.Stop()
	for {
		p.say(false)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			_ = p.subscription.Unsubscribe()
			p.say(true)
			return
		}
	}
}

// say announces the process. Without a connection there is nobody to hear it, and an
// announcement sent later would be false.
func (p *Presence) say(leaving bool) {
	if !p.pipeline.conn.IsConnected() {
		return
	}
	said := p.self()
	said.Version, said.Leaving = p.pipeline.schema, leaving
	if err := p.pipeline.conn.Publish(ProcessSubject(said.ID), Encode(said)); err != nil {
		p.pipeline.log.Debug("a process was not announced", "error", err)
	}
}

func (p *Presence) hear(message *nats.Msg) {
	var said Process
	if json.Unmarshal(message.Data, &said) != nil || said.ID == "" || said.ID == p.self().ID {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if said.Leaving {
		delete(p.heard, said.ID)
		return
	}
	if _, known := p.heard[said.ID]; known || len(p.heard) < maxProcesses {
		p.heard[said.ID] = heardProcess{said, time.Now()}
	}
}

// ShareConnections returns how many of a number of connections a process may use, of
// those that are to share them; it is counted among them. Where they are more than the
// connections, they take turns by the second.
func ShareConnections(connections int, process string, others []Process, now time.Time) int {
	calling := []string{process}
	for _, other := range others {
		if other.Calling {
			calling = append(calling, other.ID)
		}
	}
	slices.Sort(calling)
	place, count := slices.Index(calling, process), len(calling)
	if count > connections {
		turn := int(now.Unix() % int64(count))
		if (place-turn*connections%count+count)%count < connections {
			return 1
		}
		return 0
	}
	share := connections / count
	if place < connections%count {
		share++
	}
	return share
}
