package webhooks

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// keyedSlots are a number of slots for each key that somebody uses.
type keyedSlots struct {
	most  int64
	mutex sync.Mutex
	byKey map[string]*usedSlots
}

type usedSlots struct {
	*semaphore.Weighted
	users int
}

func newKeyedSlots(most int64) *keyedSlots {
	return &keyedSlots{most: most, byKey: map[string]*usedSlots{}}
}

// acquire waits for one of a key's slots until it is released; without one it returns ctx's
// error.
func (k *keyedSlots) acquire(ctx context.Context, key string) (release func(), err error) {
	k.mutex.Lock()
	slots := k.byKey[key]
	if slots == nil {
		slots = &usedSlots{Weighted: semaphore.NewWeighted(k.most)}
		k.byKey[key] = slots
	}
	slots.users++
	k.mutex.Unlock()
	leave := func() {
		k.mutex.Lock()
		defer k.mutex.Unlock()
		if slots.users--; slots.users == 0 {
			delete(k.byKey, key)
		}
	}
	if err := slots.Acquire(ctx, 1); err != nil {
		leave()
		return nil, err
	}
	return func() {
		slots.Release(1)
		leave()
	}, nil
}
