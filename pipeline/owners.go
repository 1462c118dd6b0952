package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PutOwner notes which service an object belongs to; kind is vm or net.
func (p *Pipeline) PutOwner(ctx context.Context, kind string, id, service int) error {
	if err := putText(ctx, p.owners, ownerKey(kind, id), strconv.Itoa(service)); err != nil {
		return fmt.Errorf("note that %s %d belongs to service %d: %w", kind, id, service, err)
	}
	return nil
}

// OwnerNote says which service an object belongs to; Kind is vm or net.
type OwnerNote struct {
	Kind        string
	ID, Service int
}

// PutOwners is PutOwner for many objects at once.
func (p *Pipeline) PutOwners(ctx context.Context, notes []OwnerNote) error {
	messages := make([]*nats.Msg, len(notes))
	for i, note := range notes {
		messages[i] = nats.NewMsg("$KV." + BucketOwners + "." + ownerKey(note.Kind, note.ID))
		messages[i].Data = []byte(strconv.Itoa(note.Service))
	}
	if err := p.publishOrdered(ctx, messages, p.replicated(bucketPrefix+BucketOwners)); err != nil {
		return fmt.Errorf("note whose %d objects are: %w", len(notes), err)
	}
	return nil
}

// Owner is the service that an object belongs to; false when none is known.
func (p *Pipeline) Owner(ctx context.Context, kind string, id int) (int, bool, error) {
	text, err := getText(ctx, p.owners, ownerKey(kind, id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look up whose %s %d is: %w", kind, id, err)
	}
	service, err := strconv.Atoi(text)
	if err != nil {
		return 0, false, fmt.Errorf("look up whose %s %d is: %q is not a service's id", kind, id, text)
	}
	return service, true, nil
}

// ForgetOwner removes what PutOwner noted, once the object is gone.
func (p *Pipeline) ForgetOwner(ctx context.Context, kind string, id int) error {
	err := persist(ctx, func(ctx context.Context) error {
		return p.owners.Purge(ctx, ownerKey(kind, id), jetstream.PurgeTTL(markerTTL))
	})
	if err != nil {
		return fmt.Errorf("forget whose %s %d was: %w", kind, id, err)
	}
	return nil
}

func ownerKey(kind string, id int) string { return fmt.Sprintf("%s-%d", token(kind), id) }

// Owners is everything that PutOwner noted and ForgetOwner did not remove, kind
// by kind: vm or net -> id -> service. What cannot be understood is left out.
func (p *Pipeline) Owners(ctx context.Context) (map[string]map[int]int, error) {
	watcher, err := p.owners.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read whose each VM and network is: %w", err)
	}
	defer func() { _ = watcher.Stop() }()
	all := map[string]map[int]int{}
	for {
		select {
		case entry, open := <-watcher.Updates():
			if entry == nil && open {
				return all, nil
			}
			if !open {
				return nil, errors.New("read whose each VM and network is: the connection to NATS was closed")
			}
			note(all, entry)
		case <-ctx.Done():
			return nil, fmt.Errorf("read whose each VM and network is: %w", ctx.Err())
		}
	}
}

func note(all map[string]map[int]int, entry jetstream.KeyValueEntry) {
	kind, number, _ := strings.Cut(entry.Key(), "-")
	id, keyErr := strconv.Atoi(number)
	service, valueErr := strconv.Atoi(string(entry.Value()))
	if keyErr != nil || valueErr != nil {
		return
	}
	if all[kind] == nil {
		all[kind] = map[int]int{}
	}
	all[kind][id] = service
}
