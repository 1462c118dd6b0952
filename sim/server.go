package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/sim/internal/gate"
)

// server is one oned of the zone: it takes calls (calls.go), lets clients in
// (sessions.go) and passes writes on to the leader.
type server struct {
	zone  *zone
	index int
	// The addresses are those asked for until the first start, and ever after
	// those that it has: they are not written again, and read without a lock.
	rpcAddress, hooksAddress string
	gate                     *gate.Gate
	sessions                 sessions
	// sockets are nil while it does not run; the zone's lock guards them.
	sockets *serverSockets
}

// serverSockets are what a oned listens on.
type serverSockets struct {
	rpc    *endpointServer
	events *zmqpub.Publisher
}

func (s *server) endpoint() string { return "http://" + s.rpcAddress + "/RPC2" }

func (s *server) hooksEndpoint() string { return "tcp://" + s.hooksAddress }

func (s *server) open(ctx context.Context) error {
	rpc, err := listen(ctx, "XML-RPC", s.rpcAddress)
	if err != nil {
		return err
	}
	events, err := listen(ctx, "hook events", s.hooksAddress)
	if err != nil {
		return errors.Join(err, rpc.Close())
	}
	if s.rpcAddress != rpc.Addr().String() || s.hooksAddress != events.Addr().String() {
		s.rpcAddress, s.hooksAddress = rpc.Addr().String(), events.Addr().String()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", s.serve)
	s.sockets = &serverSockets{
		rpc: serve(s.gate.Before(rpc), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().UTC().Format(onedDate))
			w.Header().Set("Server", "Xmlrpc-c_Abyss/1.33.14")
			w.Header().Set("Connection", "close") // oned's library keeps none, whatever KEEPALIVE_MAX_CONN says
			mux.ServeHTTP(w, r)
		}), s.zone.config.Logger),
		events: zmqpub.New(events, zmqpub.Config{HighWater: s.zone.config.HooksHighWater, Logger: s.zone.config.Logger}),
	}
	return nil
}

// onedDate is the Date of oned's answers: UTC, where HTTP wants GMT.
const onedDate = "Mon, 02 Jan 2006 15:04:05 UTC"

func closeSockets(ctx context.Context, all ...*serverSockets) {
	for _, one := range all {
		one.rpc.stop(ctx)
		one.events.Close()
	}
}

// atOnce has sockets cut every connection, as a kill does.
func atOnce() context.Context {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}

// maxRequestBytes bounds a call's body. The largest real ones carry a service's document.
const maxRequestBytes = 16 << 20

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		http.Error(w, "the call is too long or ended early", http.StatusRequestEntityTooLarge)
		return
	}
	answer := s.answer(r.Context(), body)
	if answer == nil {
		// The one way of net/http to close a connection without an answer.
		panic(http.ErrAbortHandler)
	}
	defer answer.Release()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(answer.Len()))
	_, _ = w.Write(answer.Bytes())
}

// endpointServer is an HTTP server on a listener.
type endpointServer struct {
	server *http.Server
	ended  chan struct{}
}

// requestTimeout is oned's TIMEOUT for a call to come.
const requestTimeout = 15 * time.Second

func serve(listener net.Listener, handler http.Handler, logger *slog.Logger) *endpointServer {
	e := &endpointServer{
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: requestTimeout, IdleTimeout: requestTimeout,
			MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
		ended: make(chan struct{}),
	}
	go func() {
		defer close(e.ended)
		if err := e.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("a server of the simulator ended", "address", listener.Addr().String(), "error", err)
		}
	}()
	return e
}

// stop lets open calls finish until the context ends, then closes everything.
func (e *endpointServer) stop(ctx context.Context) {
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close()
	}
	<-e.ended
}

// listen opens a TCP port; the error names what for, where, and the mend.
func listen(ctx context.Context, what, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: the port is taken: "+
			"stop what uses it or choose another with --sim-listen", what, address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: %w: choose another address with --sim-listen",
			what, address, err)
	}
	return listener, nil
}
