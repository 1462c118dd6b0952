package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
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
