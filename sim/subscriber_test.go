package sim_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"github.com/go-zeromq/zmq4"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// published is a message of the hook events.
type published struct {
	key  string
	body string
}

// listener collects the hook events for the time of a test.
type listener struct {
	mu       sync.Mutex
	messages []published
}

// subscribe listens to all keys with the prefix; it has subscribed when it
// returns.
func subscribe(t testing.TB, s *sim.Sim, prefix string) *listener {
	t.Helper()
	l := subscribeAt(t, s.HooksEndpoint(), prefix)
	if err := s.WaitSubscribed(t.Context(), prefix); err != nil {
		t.Fatal(err)
	}
	return l
}

// subscribeAt listens to one server; it may not have subscribed when it returns.
func subscribeAt(t testing.TB, endpoint, prefix string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	socket := zmq4.NewSub(ctx)
	if err := socket.Dial(endpoint); err != nil {
		cancel()
		t.Fatal(err)
	}
	if err := socket.SetOption(zmq4.OptionSubscribe, prefix); err != nil {
		cancel()
		t.Fatal(err)
	}
	l := &listener{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.collect(socket)
	}()
	t.Cleanup(func() {
		cancel()
		_ = socket.Close()
		<-ended
	})
	return l
}

func (l *listener) collect(socket zmq4.Socket) {
	for {
		message, err := socket.Recv()
		if err != nil {
			return
		}
		body, err := base64.StdEncoding.DecodeString(string(message.Frames[1]))
		if err != nil {
			body = []byte("not base64: " + err.Error())
		}
		l.mu.Lock()
		l.messages = append(l.messages, published{string(message.Frames[0]), string(body)})
		l.mu.Unlock()
	}
}

func (l *listener) all() []published {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]published(nil), l.messages...)
}

// keys are the keys with a prefix, in order.
func (l *listener) keys(prefix string) []string {
	var keys []string
	for _, m := range l.all() {
		if strings.HasPrefix(m.key, prefix) {
			keys = append(keys, m.key)
		}
	}
	return keys
}

// await waits until a key came so many times.
func (l *listener) await(t testing.TB, key string, times int) {
	t.Helper()
	poll.Until(t, key+" was published", func() bool { return len(l.keys(key)) >= times })
}
