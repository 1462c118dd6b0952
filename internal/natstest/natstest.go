// Package natstest runs NATS servers with JetStream inside tests: one, or a
// cluster of several, that can be stopped and started again on their data.
//
// Everything listens on 127.0.0.1 with ports the system chose, stores in the test's temporary folder and is removed when the test
// ends. Nothing is synced to disk at once: that is for speed, and unsuitable for tests of power loss.
package natstest

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
)

const maxPayload = 8 << 20

// VerifyTestMain is goleak's, but for the goroutines of a stream that a server creates while it is shut down: nats-server 2.15.2
// does not stop that one. A server that was not stopped leaves others, too.
func VerifyTestMain(m goleak.TestingM, options ...goleak.Option) {
	for _, function := range []string{".(*fileStore).flushStreamStateLoop", ".(*msgBlock).flushLoop", "/ats.Register.func1"} {
		options = append(options, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server"+function))
	}
	goleak.VerifyTestMain(m, options...)
}

// Server starts one server and returns its URL.
func Server(t testing.TB) string {
	t.Helper()
	return NewNode(t).URL()
}

// Node is one server. Its address and its data stay through Stop and Start.
type Node struct {
	t       testing.TB
	options server.Options
	running *server.Server
}

// NewNode starts one server that can be stopped and started again. Changes are made to its options first.
func NewNode(t testing.TB, changes ...func(*server.Options)) *Node {
	t.Helper()
	node := &Node{t: t, options: baseOptions(t, "node")}
	for _, change := range changes {
		change(&node.options)
	}
	node.Start()
	t.Cleanup(node.Stop)
	return node
}

// Change changes the options of a node that is stopped.
func (n *Node) Change(change func(*server.Options)) { change(&n.options) }

// URL returns the address for clients.
func (n *Node) URL() string { return fmt.Sprintf("nats://%s:%d", n.options.Host, n.options.Port) }

// StoreDir returns the folder with the node's data.
func (n *Node) StoreDir() string { return n.options.StoreDir }

// Start starts a stopped node on the address and the data it had.
func (n *Node) Start() {
	n.t.Helper()
	if n.running != nil {
		return
	}
	options := n.options
	started, err := server.NewServer(&options)
	if err != nil {
		n.t.Fatalf("start the test's NATS server: %v", err)
	}
	started.ConfigureLogger()
	started.Start()
	if !started.ReadyForConnections(poll.Limit) {
		log, _ := os.ReadFile(n.options.LogFile)
		n.t.Fatalf("the test's NATS server on port %d is not ready after %v: %s", n.options.Port, poll.Limit, log)
	}
	n.running = started
}

// Stop ends the node and waits until it has.
func (n *Node) Stop() {
	if n.running == nil {
		return
	}
	n.running.Shutdown()
	n.running.WaitForShutdown()
	n.running = nil
}

// Nodes is a cluster.
type Nodes []*Node

// Cluster starts a cluster of so many servers and waits until it has elected its leader, so that replicated streams can be made.
func Cluster(t testing.TB, size int) Nodes {
	t.Helper()
	routes := make([]*url.URL, size)
	routed := ports.FreeNumbers(t, size)
	for i, port := range routed {
		routes[i] = &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)}
	}
	nodes := make(Nodes, size)
	for i := range nodes {
		options := baseOptions(t, fmt.Sprintf("node%d", i+1))
		options.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: routed[i]}
		options.Routes = routes
		nodes[i] = &Node{t: t, options: options}
		t.Cleanup(nodes[i].Stop)
	}
	for _, node := range nodes {
		node.Start()
	}
	poll.Until(t, "the cluster's leader and all its peers", func() bool {
		for _, node := range nodes {
			if node.running.JetStreamIsLeader() {
				return len(node.running.JetStreamClusterPeers()) == size
			}
		}
		return false
	})
	return nodes
}

// URL returns the addresses of all nodes, separated by commas, as clients of a cluster use them.
func (n Nodes) URL() string {
	urls := make([]string, len(n))
	for i, node := range n {
		urls[i] = node.URL()
	}
	return strings.Join(urls, ",")
}

// Leader returns the node that leads the stream of the global account, nil while none does.
func (n Nodes) Leader(stream string) *Node {
	for _, node := range n {
		if node.running != nil && node.running.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return node
		}
	}
	return nil
}

func baseOptions(t testing.TB, name string) server.Options {
	t.Helper()
	return server.Options{
		ServerName:         name,
		Host:               "127.0.0.1",
		Port:               ports.FreeNumbers(t, 1)[0],
		NoSigs:             true,
		LogFile:            filepath.Join(t.TempDir(), "log"), // it has the reason if a server does not start
		JetStream:          true,
		StoreDir:           t.TempDir(),
		MaxPayload:         maxPayload,
		JetStreamMaxStore:  64 << 30,
		JetStreamMaxMemory: 256 << 20,
	}
}
