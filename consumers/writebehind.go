package consumers

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// A document follows its record: it is written when its service has come to rest, and when a
// client is answered. Of a service that is on its way the state is written within a second, so that
// what happens close together costs one write, and what else changes once a minute. For that second
// its inputs have not ended: whoever takes the service over reads them again, and writes.

const (
	// writeWithin is for how long a document may name another state than its record until it
	// is written, which takes oned a while.
	writeWithin = 850 * time.Millisecond
	// writeEvery is how far apart writes are that do not change the state.
	writeEvery = time.Minute
)

// writeBehind is when a document that is behind its record is to be written.
type writeBehind struct {
	// due is when; zero where the document is not behind.
	due time.Time
	// written is when the document was written last, as far as is known, and shows the
	// service's state in it.
	written time.Time
	shows   spec.ServiceState
}

// begin notes that the document is behind a record with the state.
func (w *writeBehind) begin(state spec.ServiceState) {
	due := time.Now().Add(writeWithin)
	if next := w.written.Add(writeEvery); state == w.shows && next.After(due) {
		due = next
	}
	if w.due.IsZero() || due.Before(w.due) {
		w.due = due
	}
}

// wrote notes that the document was written with the state.
func (w *writeBehind) wrote(state spec.ServiceState) {
	*w = writeBehind{written: time.Now(), shows: state}
}

// isDue reports whether the document is to be written now.
func (w *writeBehind) isDue() bool { return !w.due.IsZero() && !time.Now().Before(w.due) }

// isSoon reports whether the document is to be written within a second.
func (w *writeBehind) isSoon() bool { return !w.due.IsZero() && time.Until(w.due) <= writeWithin }

// writeIfDue writes the document while calls for the service are made, unless the next one
// deletes it.
func (s *saver) writeIfDue(ctx context.Context) error {
	if !s.behind.isDue() || s.record.State.Service.State() == spec.ServiceDone {
		return nil
	}
	return s.saveDocument(ctx)
}

// writeInTime writes the document unless there is time for that. It reports whether the
// inputs may end: the document says what the record does, or will in a while.
func (s *saver) writeInTime(ctx context.Context, all bool) (mayEnd bool, err error) {
	if !s.exists {
		s.behind.due = time.Time{}
		return true, nil
	}
	state := s.record.State.Service.State()
	if state.Waiting() && !s.behind.isDue() && s.record.State.Service.Body.Digest() != s.record.Saved {
		if s.behind.begin(state); !all || !s.behind.isSoon() {
			return !s.behind.isSoon(), nil
		}
	}
	err = s.saveDocument(ctx)
	return err == nil, err
}

// remindAt has remind called then, or before; the caller holds the mutex.
func (p *partition) remindAt(due time.Time) {
	switch {
	case p.reminder == nil:
		p.reminder = time.AfterFunc(time.Until(due), p.remind)
	case due.Before(p.reminds):
		p.reminder.Reset(time.Until(due))
	default:
		return
	}
	p.reminds = due
}

// remind has the service loops write whose documents have been behind for long enough.
func (p *partition) remind() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.reminder = nil
	if p.closed {
		return
	}
	var next time.Time
	for l := range p.behind {
		switch due := l.saver.behind.due; {
		case l.saver.behind.isDue():
			delete(p.behind, l)
			l.inbox.write = true
			p.wait.Add(1)
			p.ask(l)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	if !next.IsZero() {
		p.remindAt(next)
	}
}

const (
	// lastWrites is for how long documents are written when a partition is given up, and
	// writesAtOnce how many at a time.
	lastWrites   = 3 * time.Second
	writesAtOnce = 8
)

// writeAll writes the documents that are behind when the partition is given up: OneFlow may
// be put back. A service that another worker has taken over meanwhile is left alone.
func (p *partition) writeAll() {
	ctx, cancel := context.WithTimeout(opennebula.Unhurried(context.Background()), lastWrites)
	defer cancel()
	var writes errgroup.Group
	writes.SetLimit(writesAtOnce)
	for _, l := range p.loops {
		decided := l.record.State.Service.Body.Digest()
		if committed := l.saver.stored == decided; !committed || !l.exists || decided == l.record.Saved {
			continue
		}
		writes.Go(func() error {
			l.saver.confirmed = time.Time{}
			if err := l.saver.saveDocument(ctx); err != nil {
				p.worker.config.Logger.Info("a document could not be written before its service was released; the next owner writes it",
					"service", l.service, "error", err)
			}
			return nil
		})
	}
	_ = writes.Wait()
}
