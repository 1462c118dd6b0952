package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flowjet/flowjet/restapi"
)

// statusView is what GET /health of a process without an API says.
type statusView struct {
	Ready   bool                 `json:"ready"`
	Reasons []string             `json:"reasons"`
	Feeds   []restapi.FeedHealth `json:"feeds"`
}

// startStatus serves metrics, health and profiles, for processes that have no API
// and for administrators of this host. It asks for no password, and gives profiles to
// this host only.
func (s statusPage) startStatus(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.config.Status.Listen)
	if err != nil {
		return fmt.Errorf("serve metrics on %s: %w: choose another address with --status-listen", s.config.Status.Listen, err)
	}
	s.statusAddress = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health", s.showStatus)
	// For those that restart what hangs: waiting for NATS or oned is no reason to.
	mux.HandleFunc("GET /health/live", func(http.ResponseWriter, *http.Request) {})
	for path, handler := range map[string]http.HandlerFunc{"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		mux.HandleFunc("GET /debug/pprof/"+path, overLoopback(handler))
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the metrics endpoint has stopped", "error", err)
		}
	}()
	s.onStop(server.Shutdown)
	return nil
}

// overLoopback refuses requests from other hosts: profiles tell a process's memory and
// cost processor time, while metrics and health may be opened to a monitoring system.
func overLoopback(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are served on this host's loopback address only", http.StatusForbidden)
			return
		}
		handler(w, r)
	}
}

func (s statusPage) showStatus(w http.ResponseWriter, _ *http.Request) {
	view := statusView{Reasons: s.heldUp(), Feeds: bridging(s).feeds()}
	view.Ready = len(view.Reasons) == 0
	w.Header().Set("Content-Type", "application/json")
	if !view.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(view) // the client has gone
}

// heldUp are the reasons why this process does not do its work at the moment.
func (s statusPage) heldUp() []string {
	reasons := append([]string{}, s.notReady()...)
	if s.server != nil && !s.server.Ready() {
		reasons = append(reasons, "JetStream is not available on the local NATS server: it is starting, or its cluster has no leader")
	}
	if s.pipe != nil {
		if state := s.pipe.State(); !state.Connected {
			reasons = append(reasons, "NATS has been unreachable since "+state.Since.UTC().Format(time.RFC3339))
		}
	}
	feeds, connected := bridging(s).feeds(), false
	for _, feed := range feeds {
		connected = connected || feed.Connected
	}
	if len(feeds) > 0 && !connected {
		reasons = append(reasons, "no endpoint of hook events is connected: "+feeds[0].Error)
	}
	return reasons
}

// statusPage serves the metrics and the health of a process without an API.
type statusPage struct{ *App }
