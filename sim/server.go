package sim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// endpointServer is an HTTP server on a listener.
type endpointServer struct {
	server *http.Server
	ended  chan struct{}
}

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

// rpcHandler answers XML-RPC on /RPC2 as one of the zone's servers.
func (s *Sim) rpcHandler(server int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", func(w http.ResponseWriter, r *http.Request) { s.serveRPC(w, r, server) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().UTC().Format(onedDate))
		w.Header().Set("Server", "Xmlrpc-c_Abyss/1.33.14")
		w.Header().Set("Connection", "close") // oned's library keeps none, whatever KEEPALIVE_MAX_CONN says
		mux.ServeHTTP(w, r)
	})
}

func (s *Sim) serveRPC(w http.ResponseWriter, r *http.Request, server int) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		http.Error(w, "the call is too long or ended early", http.StatusRequestEntityTooLarge)
		return
	}
	result := s.answerRPC(r.Context(), body, server)
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

func (s *Sim) answerRPC(ctx context.Context, body []byte, server int) outcome {
	method, parameters, err := decodeRequest(body)
	if err != nil {
		return outcome{body: encodeFault(faultParse, err.Error())}
	}
	return s.call(ctx, server, method, parameters)
}
