package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// inbox is one subscription for all replies that this process waits for, made when the
// first one is. It ends with the client.
type inbox struct {
	core *js.Client

	mu           sync.Mutex
	prefix       string
	subscription *nats.Subscription
	waiting      map[string]chan pipeline.Reply
}

// expect opens an address for one reply. The reply comes on the channel at
// most once; forget closes the address.
func (i *inbox) expect() (address string, replies <-chan pipeline.Reply, forget func(), err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.subscription == nil {
		if err := i.subscribe(); err != nil {
			return "", nil, nil, fmt.Errorf("listen for command replies on %s: %w", i.core.Server(), err)
		}
	}
	name, channel := nuid.Next(), make(chan pipeline.Reply, 1)
	i.waiting[name] = channel
	return i.prefix + name, channel, func() { i.take(name) }, nil
}

func (i *inbox) subscribe() (err error) {
	i.prefix = i.core.Conn().NewInbox() + "."
	subscription, err := i.core.Conn().Subscribe(i.prefix+"*", i.deliver)
	if err != nil {
		return err
	}
	i.subscription = subscription
	context.AfterFunc(i.core.Life(), func() { _ = subscription.Unsubscribe() })
	return nil
}

// take removes the channel that waits at the address.
func (i *inbox) take(name string) chan pipeline.Reply {
	i.mu.Lock()
	defer i.mu.Unlock()
	channel := i.waiting[name]
	delete(i.waiting, name)
	return channel
}

func (i *inbox) deliver(message *nats.Msg) {
	var reply pipeline.Reply
	if json.Unmarshal(message.Data, &reply) != nil {
		return
	}
	if channel := i.take(strings.TrimPrefix(message.Subject, i.prefix)); channel != nil {
		channel <- reply
	}
}
