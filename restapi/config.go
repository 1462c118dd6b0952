package restapi

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow"
)

// Config configures the API. The zero value works.
type Config struct {
	// Listen is host:port, default 127.0.0.1:2474, as OneFlow's.
	Listen string
	// CredentialTTL is for how long a user's name and secret count as checked,
	// default 30 s: a changed password or a revoked token works that much longer.
	// Shorter is expensive: each check is a call in the user's own session, and the
	// change of session kind costs oned 200 to 320 ms twice.
	CredentialTTL time.Duration
	// ReplyWait is how long a request waits for the worker's answer before it
	// is answered with 202, default 5 s.
	ReplyWait time.Duration
	// CertificateFile and KeyFile turn TLS on; PEM. They are read again when
	// they change.
	CertificateFile string
	KeyFile         string
	// ActionNumber and ActionPeriod are OneFlow's action_number and action_period, for
	// actions on many VMs that do not say: how many VMs at a time (1 by default), and how
	// far apart (60 s).
	ActionNumber int
	ActionPeriod time.Duration
	// Settings are the workers', for the plans of dry runs; OneFlow's defaults
	// if they are left out.
	Settings flow.Settings
	// VMLink is the address of a VM elsewhere, such as Sunstone's, with {id} in the place
	// of its number; the page links to it. Empty for none.
	VMLink string
	// Version is the answer of /flowjet/v1/version.
	Version string
	// Metrics are served at GET /metrics; without them there is no such path.
	Metrics prometheus.Gatherer
	// Registerer takes the API's own metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// NotReady adds reasons why this process is not ready; nil for none.
	NotReady func() []string
	// Feeds returns the state of this process's feeds of hook events; nil for none.
	Feeds func() []FeedHealth
	// HearingCalls identifies the connection on which a bridge hears all calls that change
	// documents or who may see them; it returns an empty text, as nil does, while none does.
	HearingCalls func() string
	Limits       Limits
	Logger       *slog.Logger

	// now is the clock of scheduled actions.
	now func() time.Time
}

// Limits bound what clients can take.
type Limits struct {
	// Body is the largest request body in bytes, default 1 MiB.
	Body int64
	// Requests is how many requests are worked on at once, default 512, and Receiving how
	// many bodies are received, default 256. Both are shared among users; more are turned
	// away with 503.
	Requests, Receiving int
	// Reads and Changes are how many requests of each kind a user may send a
	// second, 5,000 and 200 by default, and twice as many at once.
	Reads, Changes float64
	// Bytes are how many bytes of bodies a user may send a second on average, default
	// 64 KiB, and BytesAtOnce how many before that counts, default 64 MiB.
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
