package restapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/restapi/internal/certificate"
)

const (
	// writeTimeout ends a request that no other limit has ended.
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server is the HTTP API.
type Server struct {
	config    Config
	logger    *slog.Logger
	queue     queue
	admission *admission
	backlog   *backlog
	overview  *overview
	patterns  map[string]http.Handler
	handler   http.Handler
	tls       *tls.Config
	// stopping ends event streams and what begin has started.
	stopping context.Context
	stop     context.CancelFunc

	mu       sync.Mutex
	http     *http.Server
	listener net.Listener
	served   chan struct{}
	// following is what begin has started.
	following sync.WaitGroup
}

// New makes an API over the given pipeline and oned. It does not listen yet.
func New(config Config, p *pipeline.Pipeline, client *opennebula.Client) (*Server, error) {
	return newServer(config, newClients(p), oned{client}, client.Box())
}

// newServer makes an API that opens what others have sealed in the same way as box.
func newServer(config Config, commands queue, users sessions, box *seal.Box) (*Server, error) {
	config = config.withDefaults()
	counts := newMetrics()
	authenticator, err := newAuthenticator(users, box, config.CredentialTTL, config.Limits.Verdicts, counts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: config, logger: config.Logger, queue: commands, admission: newAdmission(config.Limits),
		backlog: newBacklog(config.Limits.Queued, config.Limits.QueuedOfUser),
	}
	if config.CertificateFile != "" || config.KeyFile != "" {
		read, err := certificate.Read(config.CertificateFile, config.KeyFile, config.Logger)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: read.Get}
	}
	s.overview = &overview{queue: commands, backlog: s.backlog}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if err := counts.register(config.Registerer, s.backlog.size); err != nil {
		return nil, err
	}
	s.patterns = s.routes(authenticator, users, box)
	s.handler = (&middleware{metrics: counts, logger: s.logger}).wrap(s.mux())
	return s, nil
}

// Start listens, and returns when it does. Requests are then served until Stop.
// A second Start does nothing.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("the API cannot listen on %s: the port is taken; stop the program that uses it or choose another address with --api-listen", s.config.Listen)
		}
		return fmt.Errorf("the API cannot listen on %s: %w; choose another address with --api-listen", s.config.Listen, err)
	}
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	s.listener, s.served = listener, make(chan struct{})
	s.http = &http.Server{
		Handler: s.handler, ReadHeaderTimeout: s.config.Limits.HeaderTimeout, ReadTimeout: s.config.Limits.RequestTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// A client waits for every call that is made for it.
		BaseContext: func(net.Listener) context.Context { return opennebula.Urgent(context.Background()) },
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.begin()
	go func(server *http.Server, served chan<- struct{}) {
		defer close(served)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the API has stopped listening", "address", listener.Addr().String(), "error", err)
		}
	}(s.http, s.served)
	return nil
}

// begin starts what goes on beside requests; end ends it, and event streams.
func (s *Server) begin() {
	s.following.Go(func() { s.backlog.follow(s.stopping, s.queue, s.logger) })
}

func (s *Server) end() {
	s.stop()
	s.following.Wait()
	s.overview.stop()
}

// Addr is the address that is listened on, with the real port; empty before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Stop takes no more requests, waits for those under way until ctx ends, and
// then cuts the rest off.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	s.end()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("stop the API: %w; requests in progress were aborted", errors.Join(err, s.http.Close()))
	}
	<-s.served
	s.http = nil
	return err
}
