package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// stateStream is the stream under BucketState.
const stateStream = bucketPrefix + BucketState

// LoadRecord reads a service's record with its revision, which SaveRecord
// wants back. Without a record it returns the zero Record and revision 0.
func (p *Pipeline) LoadRecord(ctx context.Context, service int) (Record, uint64, error) {
	var entry jetstream.KeyValueEntry
	err := persist(ctx, func(ctx context.Context) (err error) {
		entry, err = p.state.Get(ctx, strconv.Itoa(service))
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{}, 0, nil
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("load the record of service %d: %w", service, err)
	}
	var record Record
	if err := json.Unmarshal(entry.Value(), &record); err != nil {
		return Record{}, 0, fmt.Errorf("load the record of service %d: it cannot be read: %w", service, err)
	}
	if record.Version > p.schema {
		return Record{}, 0, fmt.Errorf("load the record of service %d: %w (version %d, this one knows %d)", service, ErrNewer, record.Version, p.schema)
	}
	return record, entry.Revision(), nil
}

// RecordRevision is the revision of a service's record, 0 without one.
func (p *Pipeline) RecordRevision(ctx context.Context, service int) (uint64, error) {
	var revision uint64
	err := persist(ctx, func(ctx context.Context) error {
		entry, err := p.state.Get(ctx, strconv.Itoa(service))
		if err == nil {
			revision = entry.Revision()
		}
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, fmt.Errorf("look at the record of service %d: %w", service, err)
	}
	return revision, nil
}

// SaveRecord writes a service's record if its revision is still the one given
// (0: if there is none), and returns the new revision. ErrConflict is returned when
// somebody else wrote in between. After any other error the record may have
// been written: load it again.
func (p *Pipeline) SaveRecord(ctx context.Context, service int, record Record, revision uint64) (uint64, error) {
	return p.saveRecord(ctx, recordWrite{service: service}, record, revision)
}

// SaveRecordNow is SaveRecord for who cannot wait until what others save at the same
// time is stored.
func (p *Pipeline) SaveRecordNow(ctx context.Context, service int, record Record, revision uint64) (uint64, error) {
	return p.saveRecord(ctx, recordWrite{service: service, now: true}, record, revision)
}

func (p *Pipeline) saveRecord(ctx context.Context, write recordWrite, record Record, revision uint64) (uint64, error) {
	record.Version = p.schema
	write.data, write.nonce = Encode(record), nuid.Next()
	service, data := write.service, write.data
	saved, err := p.compareAndSet(ctx, write, revision)
	if codeOf(err) == codeWrongSequence {
		saved, err = p.resolve(ctx, write, revision)
	}
	switch {
	case err == nil:
		return saved, nil
	case isConflict(err), errors.Is(err, ErrConflict), codeOf(err) == codeSequenceInFlight:
		return 0, fmt.Errorf("save the record of service %d: %w", service, ErrConflict)
	case errors.Is(err, nats.ErrMaxPayload):
		return 0, fmt.Errorf("save the record of service %d: its %d bytes are more than the NATS server takes; raise max_payload: %w", service, len(data), err)
	}
	return 0, fmt.Errorf("save the record of service %d: %w", service, err)
}

// recordWrite is one call of SaveRecord. Its nonce tells the write apart from
// another worker's of the same content: only one of the two may go on.
type recordWrite struct {
	service int
	data    []byte
	nonce   string
	now     bool // by itself, and not with others'
}

// compareAndSet publishes on the key's subject itself and not through
// KeyValue.Update, which hides whether the refusal is final (10071) or another
// write is still on its way (10164, on several replicas), which is tried again. On one
// replica many services' records go in one batch.
func (p *Pipeline) compareAndSet(ctx context.Context, write recordWrite, revision uint64) (uint64, error) {
	message := recordMessage(write, revision)
	if write.now || p.replicated(stateStream) { // several replicas wait for no disk
		return p.publish(ctx, message)
	}
	return p.records.store(ctx, message)
}

func recordMessage(write recordWrite, revision uint64) *nats.Msg {
	message := nats.NewMsg(recordSubject(write.service))
	message.Data = write.data
	message.Header.Set(HeaderNonce, write.nonce)
	message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return message
}

// resolve finds out what a refusal means: our own write whose answer was lost,
// the marker of a deleted record, or somebody else's write.
func (p *Pipeline) resolve(ctx context.Context, write recordWrite, revision uint64) (uint64, error) {
	last, err := p.lastRecord(ctx, write.service)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, ErrConflict
	case err != nil:
		return 0, err
	case last.Header.Get(HeaderNonce) == write.nonce:
		return last.Sequence, nil
	case revision == 0 && len(last.Data) == 0:
		return p.compareAndSet(ctx, write, last.Sequence)
	}
	return 0, ErrConflict
}

func (p *Pipeline) lastRecord(ctx context.Context, service int) (*jetstream.RawStreamMsg, error) {
	var last *jetstream.RawStreamMsg
	err := persist(ctx, func(ctx context.Context) (err error) {
		last, err = p.streams[stateStream].GetLastMsgForSubject(ctx, recordSubject(service))
		return err
	})
	return last, err
}

// DeleteRecord removes a service's record if its revision is still the one
// given. A record that is gone is no error.
func (p *Pipeline) DeleteRecord(ctx context.Context, service int, revision uint64) error {
	err := persist(ctx, func(ctx context.Context) error {
		return p.state.Purge(ctx, strconv.Itoa(service), jetstream.LastRevision(revision), jetstream.PurgeTTL(markerTTL))
	})
	if isConflict(err) {
		if _, now, loadErr := p.LoadRecord(ctx, service); loadErr == nil && now == 0 {
			return nil
		}
		err = ErrConflict
	}
	if err != nil {
		return fmt.Errorf("delete the record of service %d: %w", service, err)
	}
	return nil
}

// RecordedServices lists the services that have a record. It reads the keys
// through a watch: the direct multi-get ends at 1024 of them.
func (p *Pipeline) RecordedServices(ctx context.Context) ([]int, error) {
	var services []int
	err := persist(ctx, func(ctx context.Context) (err error) {
		services, err = p.listRecords(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the services' records: %w", err)
	}
	return services, nil
}

func (p *Pipeline) listRecords(ctx context.Context) ([]int, error) {
	watcher, err := p.state.WatchAll(ctx, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil, err
	}
	defer watcher.Stop() //nolint:errcheck // what was read is read
	services := []int{}
	for {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return nil, ErrClosed
			}
			if entry == nil {
				return services, nil
			}
			if service, err := strconv.Atoi(entry.Key()); err == nil {
				services = append(services, service)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func recordSubject(service int) string {
	return fmt.Sprintf("$KV.%s.%d", BucketState, service)
}
