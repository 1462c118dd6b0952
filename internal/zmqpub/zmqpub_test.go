package zmqpub

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, config Config) *Publisher {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	config.Logger = (&testlog.Log{}).Logger()
	p := New(listener, config)
	t.Cleanup(p.Close)
	return p
}

func subscribe(t *testing.T, p *Publisher, topics ...string) *zmq4.Conn {
	t.Helper()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Addr())
	must(t, err)
	t.Cleanup(func() { raw.Close() })
	conn, err := zmq4.Open(raw, null.Security(), zmq4.Sub, nil, false, nil)
	must(t, err)
	for _, topic := range topics {
		must(t, conn.SendMsg(zmq4.NewMsgString("\x01"+topic)))
	}
	return conn
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

// With patience nothing is dropped, and Close returns when all is written.
func TestAPatientPublisherDropsNothing(t *testing.T) {
	const messages = 1000
	p := start(t, Config{HighWater: 2, Patience: poll.Limit})
	socket := subscribe(t, p, "a ", "b ")
	must(t, p.Wait(within(t), 1, 0, "a ", "b "))
	go func() {
		for i := range messages {
			p.Send(fmt.Appendf(nil, "a %d", i), []byte("body"))
		}
		p.Close()
	}()
	for i := range messages {
		message, err := socket.RecvMsg()
		must(t, err)
		if got, want := string(message.Frames[0]), fmt.Sprintf("a %d", i); got != want || len(message.Frames) != 2 {
			t.Fatalf("received %q, want %q", got, want)
		}
	}
}

// Without it a subscriber that does not read loses messages, and holds nobody up.
func TestAnImpatientPublisherDrops(t *testing.T) {
	p := start(t, Config{HighWater: 1})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Addr())
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	socket := subscribe(t, p, "a ")
	must(t, p.Wait(within(t), 1, 0, "a "))
	body := make([]byte, 1<<20)
	for range 200 {
		if count := p.Send([]byte("a 1"), body); count != 1 {
			t.Fatalf("%d receivers, want the one that has subscribed", count)
		}
	}
	if count := p.Send([]byte("c 1")); count != 0 {
		t.Errorf("%d receivers of what nobody wants", count)
	}
	_, err = socket.RecvMsg()
	must(t, err)
}

func TestWaitTakesWhatIsThereAfterAWhile(t *testing.T) {
	p := start(t, Config{HighWater: 1, Patience: time.Second})
	subscribe(t, p, "a ")
	must(t, p.Wait(within(t), 1, 10*time.Millisecond, "a ", "never"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ended, 2, 0); err == nil {
		t.Error("two were seen where there is one")
	}
}
