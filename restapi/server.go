package restapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
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
	// credentialTTL is how long a user's name and secret count as checked: a changed password or a revoked token works that
	// much longer. Shorter is expensive: each check is a call in the user's own session, and the change of session kind
	// costs oned 200 to 320 ms twice.
	credentialTTL = 30 * time.Second
	// replyWait is how long a request waits for the worker's answer before it is answered with 202.
	replyWait = 5 * time.Second
	// aliveEvery is the time between the comments that keep a quiet stream of events open.
	aliveEvery = 15 * time.Second
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
	serving  sync.WaitGroup
	// following waits for the goroutines that begin has started.
	following sync.WaitGroup
}

// New makes an API over the given pipeline and oned. It does not listen yet.
func New(config Config, p *pipeline.Pipeline, client *opennebula.Client) (*Server, error) {
	config.credentialTTL, config.replyWait, config.aliveEvery, config.limits, config.now = credentialTTL, replyWait, aliveEvery, standardLimits, time.Now
	return newServer(config, newClients(p), oned{client}, client.Box())
}

// newServer makes an API that opens what was sealed with the same key as box.
func newServer(config Config, commands queue, users sessions, box *seal.Box) (*Server, error) {
	backlog := &backlog{all: config.limits.queued, ofUser: config.limits.queuedOfUser, waiting: map[string]waitingCommand{}}
	s := &Server{
		config: config, logger: config.Logger, queue: commands, admission: newAdmission(config.limits),
		backlog: backlog, overview: &overview{backlog: backlog},
	}
	if config.CertificateFile != "" || config.KeyFile != "" {
		read, err := certificate.Read(config.CertificateFile, config.KeyFile, config.Logger)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: read.Get}
	}
	counts := newMetrics(config.Metrics, backlog.size)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.patterns = s.routes(newAuthenticator(users, box, config.credentialTTL, config.limits.verdicts, counts), users, box)
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
	s.listener = listener
	s.http = &http.Server{
		Handler: s.handler, TLSConfig: s.tls, ReadHeaderTimeout: s.config.limits.headerTimeout, ReadTimeout: s.config.limits.requestTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// A client waits for every call that is made for it.
		BaseContext: func(net.Listener) context.Context { return opennebula.Urgent(context.Background()) },
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.begin()
	serve := s.http.Serve
	if server := s.http; s.tls != nil { // with HTTP/2, of which a browser needs one connection for all its tabs
		serve = func(listener net.Listener) error { return server.ServeTLS(listener, "", "") }
	}
	s.serving.Go(func() {
		if err := serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the API has stopped listening", "address", listener.Addr().String(), "error", err)
		}
	})
	return nil
}

// begin starts the goroutines that run beside requests; end ends them, and event streams.
func (s *Server) begin() {
	s.overview.began = time.Now()
	s.overview.observer, s.overview.err = s.queue.Observe()
	s.following.Go(func() { s.backlog.follow(s.stopping, s.queue, s.logger) })
}

func (s *Server) end() {
	s.stop()
	s.following.Wait()
	if s.overview.observer != nil {
		s.overview.observer.Stop()
	}
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
	s.serving.Wait()
	s.http = nil
	return err
}

// Config configures the API.
type Config struct {
	// Listen is host:port.
	Listen string
	// CertificateFile and KeyFile enable TLS; PEM. They are read again when they change.
	CertificateFile string
	KeyFile         string
	// ActionNumber and ActionPeriod are OneFlow's action_number and action_period, for actions on many VMs without them:
	// how many VMs at a time, and how far apart.
	ActionNumber int
	ActionPeriod time.Duration
	// Settings are the workers', for the plans of dry runs.
	Settings flow.Settings
	// VMLink is the address of a VM elsewhere, such as in Sunstone, with {id} in place of its number; the page links to it.
	// Empty for none.
	VMLink string
	// Version is returned by /flowjet/v1/version.
	Version string
	// Metrics are served at GET /metrics, with the API's own.
	Metrics *prometheus.Registry
	// NotReady returns more reasons why this process is not ready.
	NotReady func() []string
	// Feeds returns the state of this process's feeds of hook events.
	Feeds func() []FeedHealth
	// HearingCalls identifies the connection on which a bridge hears all calls that change documents or who may see them;
	// it returns an empty text while no bridge does.
	HearingCalls func() string
	Logger       *slog.Logger

	// These are constants, except in tests; now is the clock of scheduled actions.
	credentialTTL, replyWait, aliveEvery time.Duration
	limits                               limits
	now                                  func() time.Time
}

// limits bound the resources that clients can use.
type limits struct {
	body int64 // bytes of a request's body
	// requests are served at once, and of receiving the bodies are received. Both are shared among users; more are refused
	// with 503.
	requests, receiving  int
	showing              int           // bytes of documents in answers that are made or sent at once, shared among users: a client may read slowly
	patience             time.Duration // how long a list waits for them
	reads, changes       float64       // requests of each kind that a user may send a second, and twice as many at once
	bytes, bytesAtOnce   int           // bytes of bodies that a user may send a second on average, and before that limit applies
	queued, queuedOfUser int           // commands of all APIs together, and of one user, that may wait for their workers
	// headerTimeout is how long a client may take to send a request's header, and requestTimeout for the whole of it.
	headerTimeout, requestTimeout time.Duration
	streams, streamsOfUser        int // clients that may follow events at once, and of one user
	verdicts                      int // checked credentials that are remembered
}

var standardLimits = limits{
	body: 1 << 20, requests: 512, receiving: 256, showing: 256 << 20, patience: 10 * time.Second, reads: 5000, changes: 200, bytes: 64 << 10, bytesAtOnce: 64 << 20,
	queued: 2000, queuedOfUser: 500, headerTimeout: 5 * time.Second, requestTimeout: 30 * time.Second,
	streams: 200, streamsOfUser: 20, verdicts: 10_000,
}

// pageFiles are the live page: hand-written, and served as they are.
//
//go:embed page
var pageFiles embed.FS

// pageRoot is the path of the live page. Its files are below it, in page/.
const pageRoot = "/flowjet/"

// pagePolicy lets the page load its own files and ask its own server, and
// nothing else: no text that users wrote can become markup or script in it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func servePage(w http.ResponseWriter, r *http.Request) {
	name := cmp.Or(r.PathValue("file"), "index.html")
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil || strings.ContainsAny(name, `/\`) {
		notFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", pageTypes[path.Ext(name)])
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	_, _ = w.Write(text) // an error means that the client has disconnected
}

// openAPI describes both APIs; a test holds it against the routes.
//
//go:embed openapi.json
var openAPI []byte
