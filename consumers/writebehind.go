package consumers

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/opennebula"
)

// A document follows its record: it is written when its service has come to rest, and when
// somebody is told of a change. Of a service that is on its way it is written within a
// second, so that what happens close together costs one write. Meanwhile its inputs have
// not ended: whoever takes the service over reads them again, and writes.

// writeWithin is for how long a document may be behind its record until it is written,
// which takes oned a while.
const writeWithin = 850 * time.Millisecond

// writeBehind is since when a document is behind its record; zero where it is not.
type writeBehind struct{ since time.Time }

func (w *writeBehind) begin() {
	if w.since.IsZero() {
		w.since = time.Now()
	}
}

func (w *writeBehind) end() { w.since = time.Time{} }

// is reports whether the document is behind.
func (w *writeBehind) is() bool { return !w.since.IsZero() }

// due reports whether the document has been behind for long enough.
func (w *writeBehind) due() bool { return w.is() && time.Since(w.since) >= writeWithin }

// writeIfDue writes the document while calls for the service are made.
func (s *saver) writeIfDue(ctx context.Context) error {
	if !s.behind.due() {
		return nil
	}
	return s.saveDocument(ctx)
}

// writeInTime writes the document unless there is time for that. It reports whether the
// document says what the record does.
func (s *saver) writeInTime(ctx context.Context, all bool) (written bool, err error) {
	switch {
	case !s.exists:
		s.behind.end()
	case !all && s.record.State.Service.State().Waiting() && !s.behind.due() && s.isBehind():
		s.behind.begin()
		return false, nil
	default:
		err = s.saveDocument(ctx)
	}
	return err == nil, err
}

// isBehind reports whether the document does not say what was decided.
func (s *saver) isBehind() bool { return s.record.State.Service.Body.Digest() != s.record.Saved }

// restBehind keeps a service loop whose document is behind until that is written; the
// caller holds the mutex.
func (p *partition) restBehind(l *serviceLoop) {
	p.behind[l] = true
	if p.reminder == nil {
		p.reminder = time.AfterFunc(time.Until(l.saver.behind.since.Add(writeWithin)), p.remind)
	}
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
		switch since := l.saver.behind.since; {
		case l.saver.behind.due():
			delete(p.behind, l)
			l.inbox.write = true
			p.wait.Add(1)
			p.ask(l)
		case next.IsZero() || since.Before(next):
			next = since
		}
	}
	if !next.IsZero() {
		p.reminder = time.AfterFunc(time.Until(next.Add(writeWithin)), p.remind)
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
		if committed := l.saver.stored == l.record.State.Service.Body.Digest(); !committed || !l.exists || !l.saver.isBehind() {
			continue
		}
		writes.Go(func() error {
			l.saver.confirmed = time.Time{}
			if err := l.saver.saveDocument(ctx); err != nil {
				p.worker.config.Logger.Info("a document could not be written before its service was given up; whoever takes it over writes it",
					"service", l.service, "error", err)
			}
			return nil
		})
	}
	_ = writes.Wait()
}
