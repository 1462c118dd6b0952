package pipetest

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Cutter forwards connections to a server, and cuts them after a number of bytes.
type Cutter struct {
	listener net.Listener
	server   string
	// left is how many bytes still pass to the server; below 0 all do.
	left atomic.Int64
	// answers reports whether the server's answers before the cut are passed on.
	answers atomic.Bool
	wait    sync.WaitGroup
}

// NewCutter forwards connections to a server.
func NewCutter(t testing.TB, server string) *Cutter {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	Must(t, err)
	c := &Cutter{listener: listener, server: strings.TrimPrefix(server, "nats://")}
	c.left.Store(-1)
	c.answers.Store(true)
	c.wait.Go(c.run)
	t.Cleanup(func() { listener.Close(); c.wait.Wait() })
	return c
}

func (c *Cutter) run() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.server)
		if err != nil {
			client.Close()
			continue
		}
		c.wait.Go(func() {
			defer client.Close()
			defer server.Close()
			_, _ = io.Copy(answersOf{c, client}, server)
		})
		c.wait.Go(func() {
			defer client.Close()
			defer server.Close()
			c.forward(client, server)
		})
	}
}

func (c *Cutter) forward(client, server net.Conn) {
	data := make([]byte, 4096)
	for {
		count, err := client.Read(data)
		if err != nil {
			return
		}
		left := c.left.Load()
		pass := count
		if left >= 0 {
			pass = int(min(left, int64(count)))
			c.left.Add(-int64(pass))
		}
		if _, err := server.Write(data[:pass]); err != nil {
			return
		}
		if pass < count {
			c.left.Store(-1)
			c.answers.Store(true)
			return
		}
	}
}

// answersOf writes the server's answers to a client, or discards them.
type answersOf struct {
	*Cutter
	client net.Conn
}

func (a answersOf) Write(data []byte) (int, error) {
	if !a.answers.Load() {
		return len(data), nil
	}
	return a.client.Write(data)
}

// CutSomewhere cuts the connection within the next so many bytes, and half of the
// time withholds the acknowledgements of the bytes that passed.
func (c *Cutter) CutSomewhere(within int64) {
	c.answers.Store(rand.N(2) == 0)
	c.left.Store(rand.N(within))
}

// URL returns the address for clients.
func (c *Cutter) URL() string { return "nats://" + c.listener.Addr().String() }

// Mend lets everything pass again.
func (c *Cutter) Mend() {
	c.left.Store(-1)
	c.answers.Store(true)
}
