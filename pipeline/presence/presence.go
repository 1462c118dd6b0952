// Package presence lets the processes of Flowjet know each other, so that they can divide the
// connections that oned can bear.
package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
)

const (
	// maxMembers bounds how many are remembered, and forgetAfter for how long a missing one is.
	maxMembers  = 256
	forgetAfter = 7 * 24 * time.Hour
)

// Member is a process that is expected to run because it has run before.
type Member struct {
	// Name distinguishes the process from all others, and is the same after a restart: its host, its
	// parts and, if a host has several, its data folder.
	Name string `json:"name"`
	Host string `json:"host"`
	// Parts are those of bridge, worker and api that the process runs.
	Parts []string `json:"parts"`
	// Release is the version of Flowjet that it ran last.
	Release string `json:"release"`
	// Missing is since when it does not report; zero while it does.
	Missing time.Time `json:"missing,omitzero"`
	// SinceUnknown reports whether Missing is only when this process noticed it: a worker stores it, and none may run.
	SinceUnknown bool `json:"-"`
}

// ErrUnknownMember is returned for a name that is no member's.
var ErrUnknownMember = errors.New("there is no such member")

// Members returns the processes that are expected, by name.
func Members(ctx context.Context, p *pipeline.Pipeline) ([]Member, error) {
	members, _, err := load(ctx, p)
	return members, err
}

func load(ctx context.Context, p *pipeline.Pipeline) (members []Member, revision uint64, err error) {
	defer errs.Wrap(&err, "read the expected processes")
	text, revision, err := p.Bucket(pipeline.BucketCheckpoint).Get(ctx, pipeline.MembersKey)
	if revision > 0 && json.Unmarshal(text, &members) != nil {
		members = nil // it is written again
	}
	return members, revision, err
}

// save stores the expected processes, unless another process has written them since.
func save(ctx context.Context, p *pipeline.Pipeline, members []Member, revision uint64) (err error) {
	defer errs.Wrap(&err, "store the expected processes")
	bucket, text := p.Bucket(pipeline.BucketCheckpoint), pipeline.Encode(members)
	if revision == 0 {
		_, err = bucket.Create(ctx, pipeline.MembersKey, text)
	} else {
		_, err = bucket.Update(ctx, pipeline.MembersKey, text, revision)
	}
	return err
}

// Forget removes a member that is gone for good.
func Forget(ctx context.Context, p *pipeline.Pipeline, name string) error {
	for {
		members, revision, err := load(ctx, p)
		if err != nil {
			return err
		}
		kept := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Name == name })
		if len(kept) == len(members) {
			return fmt.Errorf("%q: %w", name, ErrUnknownMember)
		}
		if err := save(ctx, p, kept, revision); !js.Conflict(err) {
			return err
		}
	}
}

// merge updates the known members by the live processes, and reports whether
// they have changed. A new process replaces a missing one with the
// same parts: a front-end was replaced.
func merge(known []Member, live []pipeline.Process, now time.Time) (members []Member, changed bool) {
	members = slices.Clone(known)
	alive := map[string]bool{}
	for _, process := range live {
		if process.Name == "" {
			continue // a pod's, which never comes back under its name
		}
		alive[process.Name] = true
		current := Member{Name: process.Name, Host: process.Host, Parts: process.Parts, Release: process.Release}
		at := slices.IndexFunc(members, func(m Member) bool { return m.Name == process.Name })
		switch {
		case at < 0 && len(members) < maxMembers:
			// It replaces the one with the same parts that is missing for longest.
			replaced := -1
			for i, m := range members {
				if !m.Missing.IsZero() && slices.Equal(m.Parts, process.Parts) && (replaced < 0 || m.Missing.Before(members[replaced].Missing)) {
					replaced = i
				}
			}
			if replaced >= 0 {
				members = slices.Delete(members, replaced, replaced+1)
			}
			members, changed = append(members, current), true
		case at >= 0 && (!members[at].Missing.IsZero() || members[at].Host != current.Host || members[at].Release != current.Release || !slices.Equal(members[at].Parts, current.Parts)):
			members[at], changed = current, true
		}
	}
	for i := range members {
		if !alive[members[i].Name] && members[i].Missing.IsZero() {
			members[i].Missing, changed = now.UTC(), true
		}
	}
	kept := slices.DeleteFunc(members, func(m Member) bool { return !m.Missing.IsZero() && now.Sub(m.Missing) > forgetAfter })
	changed = changed || len(kept) < len(members)
	slices.SortFunc(kept, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return kept, changed
}

// MissingAfter is the silence after which a process counts as missing. It is several
// times deadAfter: an alarm needs more than a new division of connections.
const MissingAfter = 3 * time.Second

// Follower follows the live processes without being one.
type Follower struct {
	pipe *pipeline.Pipeline
	*liveness.Set[pipeline.Process]
	since time.Time
}

// Follow begins to follow the processes. Stop ends it.
func Follow(p *pipeline.Pipeline) (*Follower, error) {
	live, err := liveness.Listen(p.Conn(), pipeline.SubjectsProcess, MissingAfter, func(heard pipeline.Process) (string, bool) { return heard.ID, heard.Leaving })
	if err != nil {
		return nil, err
	}
	return &Follower{p, live, time.Now()}, nil
}

// Members returns the processes that are expected, by name. Before all of them can have
// reported they are returned as stored.
func (f *Follower) Members(ctx context.Context) ([]Member, error) {
	known, err := Members(ctx, f.pipe)
	if err != nil {
		return nil, err
	}
	members, _ := merge(known, f.Live(), time.Now())
	settled := f.settled()
	for i := range members {
		var stored time.Time
		if at := slices.IndexFunc(known, func(m Member) bool { return m.Name == members[i].Name }); at >= 0 {
			stored = known[at].Missing
		}
		if !settled {
			members[i].Missing = stored
		}
		members[i].SinceUnknown = !members[i].Missing.IsZero() && stored.IsZero()
	}
	return append([]Member{}, members...), nil
}

// settled reports whether all live processes can have reported since the follower, or the
// connection after a failure, began.
func (f *Follower) settled() bool {
	state := f.pipe.State()
	return state.Connected && min(time.Since(f.since), time.Since(state.Since)) >= MissingAfter
}

// Live returns the live processes.
func (f *Follower) Live() []pipeline.Process { return slices.Collect(maps.Values(f.Set.Live())) }

// keepEvery is how often the members are checked for changes.
const keepEvery = time.Second

// Keep keeps the members up to date while mine reports that this process is responsible, until ctx ends.
func (f *Follower) Keep(ctx context.Context, mine func() bool) {
	for idle.For(ctx, keepEvery) == nil {
		if !mine() || !f.settled() {
			continue
		}
		// A failure is retried.
		if known, revision, err := load(ctx, f.pipe); err == nil {
			if members, changed := merge(known, f.Live(), time.Now()); changed {
				_ = save(ctx, f.pipe, members, revision)
			}
		}
	}
}

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
