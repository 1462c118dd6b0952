package sim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/internal/zmqpub"
)

// server is one oned of the zone: it takes calls (calls.go), lets clients in
// (authdriver.go) and passes writes on to the leader (forward.go).
type server struct {
	zone  *zone
	index int
	// The addresses are those asked for until the first start, and ever after
	// those that it has: they are not written again, and read without a lock.
	rpcAddress, hooksAddress string
	// gate bounds the connections.
	gate     *gate
	sessions *sessions
	// sockets are nil while it does not run; the zone's lock guards them.
	sockets *serverSockets
}

// serverSockets are what a oned listens on.
type serverSockets struct {
	rpc    *endpointServer
	events *zmqpub.Publisher
}

func newServer(z *zone, index int, address ServerAddress) *server {
	return &server{
		zone: z, index: index, gate: newGate(z.config.MaxConnections), sessions: newSessions(z.config),
		rpcAddress: orElse(address.XMLRPCListen, anyPort), hooksAddress: orElse(address.HooksListen, anyPort),
	}
}

func (s *server) endpoint() string { return "http://" + s.rpcAddress + "/RPC2" }

func (s *server) hooksEndpoint() string { return "tcp://" + s.hooksAddress }

// open listens on the two addresses.
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
	s.sockets = &serverSockets{
		rpc:    serve(gated(rpc, s.gate), s.handler(), s.zone.config.Logger),
		events: zmqpub.New(events, zmqpub.Config{HighWater: s.zone.config.HooksHighWater, Logger: s.zone.config.Logger}),
	}
	return nil
}

func closeSockets(ctx context.Context, all []*serverSockets) {
	for _, one := range all {
		one.rpc.stop(ctx)
		one.events.Close()
	}
}

// closeAtOnce cuts every connection, as a kill does.
func closeAtOnce(all []*serverSockets) {
	atOnce, cancel := context.WithCancel(context.Background())
	cancel()
	closeSockets(atOnce, all)
}

// handler answers XML-RPC on /RPC2.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", s.serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().UTC().Format(onedDate))
		w.Header().Set("Server", "Xmlrpc-c_Abyss/1.33.14")
		w.Header().Set("Connection", "close") // oned's library keeps none, whatever KEEPALIVE_MAX_CONN says
		mux.ServeHTTP(w, r)
	})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		http.Error(w, "the call is too long or ended early", http.StatusRequestEntityTooLarge)
		return
	}
	result := s.answer(r.Context(), body)
	if result.dropped {
		// The one way of net/http to close a connection without an answer.
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(result.body.Len()))
	_, _ = w.Write(result.body.Bytes())
	result.body.release()
}

// onedDate is the Date of oned's answers: UTC, where HTTP wants GMT.
const onedDate = "Mon, 02 Jan 2006 15:04:05 UTC"

func (s *server) answer(ctx context.Context, body []byte) outcome {
	method, parameters, err := decodeRequest(body)
	if err != nil {
		return outcome{body: encodeFault(faultParse, err.Error())}
	}
	return s.call(ctx, method, parameters)
}
