package restapi

import (
	"cmp"
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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow"
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
	// stopping ends event streams and the goroutines that begin has started.
	stopping context.Context
	stop     context.CancelFunc

	mu       sync.Mutex
	http     *http.Server
	listener net.Listener
	served   chan struct{}
	// following waits for the goroutines that begin has started.
	following sync.WaitGroup
}

// New makes an API over the given pipeline and oned. It does not listen yet.
func New(config Config, p *pipeline.Pipeline, client *opennebula.Client) (*Server, error) {
	return newServer(config, newClients(p), oned{client}, client.Box())
}

// newServer makes an API that opens what was sealed with the same key as box.
func newServer(config Config, commands queue, users sessions, box *seal.Box) (*Server, error) {
	config = config.withDefaults()
	backlog := &backlog{all: config.Limits.Queued, ofUser: config.Limits.QueuedOfUser, waiting: map[string]waitingCommand{}}
	s := &Server{
		config: config, logger: config.Logger, queue: commands, admission: newAdmission(config.Limits),
		backlog: backlog, overview: &overview{queue: commands, backlog: backlog},
	}
	if config.CertificateFile != "" || config.KeyFile != "" {
		read, err := certificate.Read(config.CertificateFile, config.KeyFile, config.Logger)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: read.Get}
	}
	counts := newMetrics(config.Registerer, backlog.size)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.patterns = s.routes(newAuthenticator(users, box, config.CredentialTTL, config.Limits.Verdicts, counts), users, box)
	s.handler = newMiddleware(counts, s.logger, s.mux())
	return s, nil
}

// Start listens, and returns when it does. Requests are then served until Stop. A second Start does nothing.
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

// begin starts the goroutines that run beside requests; end ends them, and event streams.
func (s *Server) begin() {
	s.following.Go(func() { s.backlog.follow(s.stopping, s.queue, s.logger) })
}

func (s *Server) end() {
	s.stop()
	s.following.Wait()
	s.overview.stop()
}

// Addr returns the address that the server listens on, with the real port; empty before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Stop accepts no more requests, waits for those in progress until ctx ends, and then cuts the rest off.
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

// Config configures the API. The zero value works.
type Config struct {
	// Listen is host:port, default 127.0.0.1:2474, as OneFlow's.
	Listen string
	// CredentialTTL is how long a user's name and secret count as checked, default 30 s: a changed password or a revoked
	// token works that much longer. Shorter is expensive: each check is a call in the user's own session, and the change of
	// session kind costs oned 200 to 320 ms twice.
	CredentialTTL time.Duration
	// ReplyWait is how long a request waits for the worker's answer before it is answered with 202, default 5 s.
	ReplyWait time.Duration
	// CertificateFile and KeyFile enable TLS; PEM. They are read again when they change.
	CertificateFile string
	KeyFile         string
	// ActionNumber and ActionPeriod are OneFlow's action_number and action_period, for actions on many VMs without them:
	// how many VMs at a time (1 by default), and how far apart (60 s).
	ActionNumber int
	ActionPeriod time.Duration
	// Settings are the workers', for the plans of dry runs; OneFlow's defaults if empty.
	Settings flow.Settings
	// VMLink is the address of a VM elsewhere, such as in Sunstone, with {id} in place of its number; the page links to it.
	// Empty for none.
	VMLink string
	// Version is returned by /flowjet/v1/version.
	Version string
	// Metrics are served at GET /metrics; without them there is no such path.
	Metrics prometheus.Gatherer
	// Registerer registers the API's own metrics; nil leaves them out.
	Registerer prometheus.Registerer
	// NotReady returns more reasons why this process is not ready; nil for none.
	NotReady func() []string
	// Feeds returns the state of this process's feeds of hook events; nil for none.
	Feeds func() []FeedHealth
	// HearingCalls identifies the connection on which a bridge hears all calls that change documents or who may see them;
	// it returns an empty text while no bridge does. Nil means none.
	HearingCalls func() string
	Limits       Limits
	Logger       *slog.Logger

	// now is the clock of scheduled actions.
	now func() time.Time
}

// Limits bound the resources that clients can use.
type Limits struct {
	// Body is the largest request body in bytes, default 1 MiB.
	Body int64
	// Requests is how many requests are served at once, default 512, and Receiving how many bodies are received, default
	// 256. Both are shared among users; more are refused with 503.
	Requests, Receiving int
	// Reads and Changes are how many requests of each kind a user may send a
	// second, 5,000 and 200 by default, and twice as many at once.
	Reads, Changes float64
	// Bytes is how many bytes of bodies a user may send a second on average, default 64 KiB, and BytesAtOnce how many
	// before that limit applies, default 64 MiB.
	Bytes, BytesAtOnce int
	// Queued and QueuedOfUser are how many commands of all APIs together, and of
	// one user, may wait for their workers, 2,000 and 500 by default.
	Queued, QueuedOfUser int
	// HeaderTimeout is how long a client may take to send a request's header,
	// default 5 s, and RequestTimeout for the whole of it, default 30 s.
	HeaderTimeout, RequestTimeout time.Duration
	// Streams is how many clients may follow events at once, default 200, and
	// StreamsOfUser how many of one user, default 20.
	Streams, StreamsOfUser int
	// Verdicts is how many checked credentials are remembered, default 10,000.
	Verdicts int
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:2474")
	c.CredentialTTL = cmp.Or(c.CredentialTTL, 30*time.Second)
	c.ReplyWait = cmp.Or(c.ReplyWait, 5*time.Second)
	c.Version = cmp.Or(c.Version, "unknown")
	c.ActionNumber = cmp.Or(c.ActionNumber, 1)
	c.ActionPeriod = cmp.Or(c.ActionPeriod, time.Minute)
	c.Limits.Body = cmp.Or(c.Limits.Body, 1<<20)
	c.Limits.Requests = cmp.Or(c.Limits.Requests, 512)
	c.Limits.Reads = cmp.Or(c.Limits.Reads, 5000)
	c.Limits.Changes = cmp.Or(c.Limits.Changes, 200)
	c.Limits.Bytes = cmp.Or(c.Limits.Bytes, 64<<10)
	c.Limits.BytesAtOnce = cmp.Or(c.Limits.BytesAtOnce, 64<<20)
	c.Limits.Queued = cmp.Or(c.Limits.Queued, 2000)
	c.Limits.QueuedOfUser = cmp.Or(c.Limits.QueuedOfUser, 500)
	c.Limits.HeaderTimeout = cmp.Or(c.Limits.HeaderTimeout, 5*time.Second)
	c.Limits.RequestTimeout = cmp.Or(c.Limits.RequestTimeout, 30*time.Second)
	c.Limits.Receiving = cmp.Or(c.Limits.Receiving, 256)
	c.Limits.Streams = cmp.Or(c.Limits.Streams, 200)
	c.Limits.StreamsOfUser = cmp.Or(c.Limits.StreamsOfUser, 20)
	c.Limits.Verdicts = cmp.Or(c.Limits.Verdicts, 10_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Settings == (flow.Settings{}) {
		c.Settings = flow.DefaultSettings()
	}
	if c.HearingCalls == nil {
		c.HearingCalls = func() string { return "" }
	}
	if c.Feeds == nil {
		c.Feeds = func() []FeedHealth { return nil }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.NotReady == nil {
		c.NotReady = func() []string { return nil }
	}
	return c
}
