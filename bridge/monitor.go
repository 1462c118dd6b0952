package bridge

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// probeID is the largest id that oned can give: no VM has it.
	probeID   = lastID
	probeCall = callReady
	// probeAnswer is how long a publisher has to tell of a probe.
	probeAnswer = 5 * time.Second
	// checksPerQuiet is how many times within Config.Quiet a oned is asked for its role.
	checksPerQuiet = 6
)

// isProbe reports whether an event was provoked by a bridge.
func isProbe(event opennebula.HookEvent) bool {
	return event.Call == probeCall && event.ID == probeID && !event.OK
}

// monitor watches the oned beside a feed's endpoint: whether it leads, and whether
// its publisher says anything.
//
// A publisher that is silent may have nothing to say. It is then given
// something: an update of a VM that cannot exist. oned refuses that to everybody
// with "no such VM" before it looks at rights, changes nothing, and tells of the
// refusal on the feed, where bridges leave it out. A publisher that does not is
// connected to anew.
type monitor struct {
	zone   zone
	zoneID int
	feed   *feed
	// before counts the endpoints of the same host that come before the feed's.
	before int

	server server
	last   opennebula.RaftStatus
	asked  bool
	// answered reports whether a probe was heard on the feed; unanswered counts
	// those that were not.
	answered   bool
	unanswered int
}

// run watches until ctx ends.
func (m *monitor) run(ctx context.Context) {
	defer m.disconnect()
	interval := m.feed.config.Quiet / checksPerQuiet
	for {
		if err := m.check(ctx); err != nil && ctx.Err() == nil {
			m.feed.log.Debug("the oned of an endpoint does not answer", "endpoint", m.feed.listener.endpoint, "error", err)
			m.disconnect()
			m.feed.setRole("")
		}
		if idle.For(ctx, interval) != nil {
			return
		}
	}
}

func (m *monitor) disconnect() {
	if m.server != nil {
		m.server.close()
		m.server = nil
	}
}

func (m *monitor) check(ctx context.Context) error {
	if m.server == nil {
		server, err := m.zone.beside(ctx, m.zoneID, m.feed.listener.endpoint, m.before)
		if err != nil {
			return err
		}
		m.server = server
	}
	status, err := m.server.RaftStatus(ctx)
	if err != nil {
		return err
	}
	m.feed.setRole(status.State.String())
	if m.asked && status.State.Leads() && (status.Term != m.last.Term || !m.last.State.Leads()) {
		m.feed.log.Info("the zone has a new leader", "endpoint", m.feed.listener.endpoint, "term", status.Term)
		m.feed.requestResync("the zone has a new leader")
	}
	m.last, m.asked = status, true
	if status.State.Leads() {
		return m.probe(ctx)
	}
	return nil // a follower publishes nothing
}

// maxUnanswered is how many probes of an endpoint may stay unanswered before it is
// believed that its oned does not tell of refused calls.
const maxUnanswered = 3

// probe provokes an event when a connected publisher is silent for long.
func (m *monitor) probe(ctx context.Context) error {
	f := m.feed
	silence, heard, connected := f.listener.silence()
	if !connected || silence < f.config.Quiet || !m.answered && m.unanswered >= maxUnanswered {
		return nil
	}
	err := m.server.UpdateVM(ctx, probeID, "", true)
	if !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, min(probeAnswer, f.config.Quiet))
	defer cancel()
	for deadline.Err() == nil {
		if _, now, _ := f.listener.silence(); now > heard {
			m.answered, m.unanswered = true, 0
			return nil
		}
		_ = idle.For(deadline, f.config.Quiet/(20*checksPerQuiet)+time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.unanswered++
	f.log.Warn("a publisher is connected but sends nothing, not even the event of a call just made: reconnecting",
		"endpoint", f.listener.endpoint, "silent_for", silence.Round(time.Second), "hint", "is oned's hook manager running?")
	f.listener.reconnect()
	return nil
}
