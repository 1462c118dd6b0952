package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/restapi"
)

// connectOned makes the client and authenticates at oned. While oned is away it waits, and the process is not ready; only
// refused credentials end the process.
func (a *App) connectOned(ctx context.Context) error {
	credentials, err := a.credentials()
	if err != nil {
		return err
	}
	a.oned = opennebula.NewClient(opennebula.Config{
		Endpoint:       a.config.One.XMLRPC[0],
		Others:         a.config.One.XMLRPC[1:],
		Credentials:    credentials,
		MaxConnections: a.config.One.Connections,
		Observe:        a.reads.measure(a.metrics),
		Logger:         a.logger.With("part", "oned"),
	})
	a.onStop(func(context.Context) error { a.oned.Close(); return nil })
	var began time.Time
	return a.untilDone(ctx, "oned does not answer", func(ctx context.Context) (err error, final bool) {
		waited := a.contact.waits() != ""
		err, final = a.contact.ask(ctx, a)
		switch {
		case err == nil && waited:
			a.contact.set("")
			a.logger.Info("oned answers", "waited", time.Since(began).Round(time.Second))
		case err != nil && !final:
			if !waited {
				began = time.Now()
			}
			a.contact.set(err.Error())
		}
		return err, final
	})
}

// untilDone calls try and, after a failure that may pass, retries every second in the background. A final failure is the
// error of a start, and later ends the process.
func (a *App) untilDone(ctx context.Context, failing string, try func(context.Context) (err error, final bool)) error {
	err, final := try(ctx)
	if err == nil || final {
		return err
	}
	a.logger.Warn(failing+", retrying", "reason", err)
	a.background(ctx, func(ctx context.Context) {
		for idle.For(ctx, time.Second) == nil {
			err, final := try(ctx)
			if final {
				a.contact.failed <- err
			}
			if err == nil || final {
				return
			}
		}
	})
	return nil
}

// contact is the first contact with oned.
type contact struct {
	// failed has room for the failure of the contact itself and for the bridge's, so that neither waits for a receiver.
	failed chan error

	mutex   sync.Mutex
	waiting string // what everything waits for; empty for nothing
}

func (c *contact) set(waiting string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.waiting = waiting
}

func (c *contact) waits() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.waiting
}

// ErrRefused is why a process ends whose credentials oned refuses.
var ErrRefused = errors.New("refuses the server user")

// refusedTimes is how often oned has to refuse the credentials before that is final: oned may not have its auth drivers yet
// after a start.
const refusedTimes = 2

// ask returns why oned cannot be used, and whether that is final.
func (c *contact) ask(ctx context.Context, a *App) (reason error, final bool) {
	asking, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := a.config.checkZone(asking, a.oned); err != nil {
		return err, true
	}
	a.oned.Follow(asking, a.config.Zone)
	endpoints := strings.Join(a.config.One.XMLRPC, ", ")
	for refused := 1; ; refused++ {
		_, err := a.oned.Server().User(asking, -1)
		switch {
		case err == nil:
			return nil, false
		case !opennebula.IsCode(err, opennebula.CodeAuthentication):
			return fmt.Errorf("check the server user at oned at %s: %w: start oned, or set its endpoint with --one-xmlrpc", endpoints, err), false
		case refused == refusedTimes || idle.For(asking, time.Second) != nil:
			return fmt.Errorf("oned at %s %w of %s: put serveradmin's name and password there, or set another file with --one-auth-file", endpoints, ErrRefused, a.config.One.AuthFile), true
		}
	}
}

// Failed receives the error that ends a process after its start: credentials that oned refuses once it answers.
func (a *App) Failed() <-chan error { return a.contact.failed }

const (
	shareEvery   = 250 * time.Millisecond // how often the share of oned's connections is calculated
	callingFor   = 2 * time.Second        // how long a process counts as calling oned after its last call
	heardAfter   = 3 * shareEvery         // after this time the others know that a process calls oned, and have given back its share
	diskEvery    = 5 * time.Second        // how often the usage of the data folder's disk is read
	forQuestions = 1                      // how many of the connections are reserved for asking who leads
)

// shareOned keeps all processes together within one.connections connections to each oned, and announces the zone's servers
// to them.
func (a *App) shareOned(ctx context.Context) error {
	self := identityOf(a)
	share := &onedShare{oned: a.oned, reads: a.reads, bridge: &a.bridge, self: self, total: max(1, a.config.One.Connections-forQuestions)}
	others, err := presence.Announce(a.pipe, share.announce)
	if err != nil {
		return err
	}
	a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowjet_oned_connections_allowed", Help: "Concurrent calls to oned that this process may make: its share of one.connections.",
	}, func() float64 { return float64(share.share.Load()) }))
	a.hearing = func() bool {
		b := a.bridge.Load()
		return b != nil && b.Hears() || slices.ContainsFunc(others.Others(), func(p pipeline.Process) bool { return p.Hearing })
	}
	a.hearingCalls = func() string {
		heard := ""
		if b := a.bridge.Load(); b != nil {
			heard = b.HearsCalls()
		}
		for _, process := range others.Others() {
			heard = max(heard, process.Calls) // two bridges announce the same during a take-over
		}
		return heard
	}
	a.onStop(func(ctx context.Context) error { others.Leave(ctx); return nil })
	a.background(ctx, func(ctx context.Context) { share.watchDisk(ctx, a.config.DataDir) })
	logger := a.logger.With("part", "oned")
	a.background(ctx, func(ctx context.Context) {
		for {
			if a.oned.Refused() {
				_ = renewServerUser(a) // the file may be about to be written
			}
			processes := others.Others()
			for _, other := range processes {
				a.oned.Introduce(other.Servers)
			}
			now := share.calculate(processes, time.Now())
			a.oned.SetConnections(now)
			if was := share.share.Swap(int64(now)); was != int64(now) {
				logger.Debug("the share of oned's connections has changed", "connections", now, "processes", len(processes)+1)
			}
			if idle.For(ctx, shareEvery) != nil {
				return
			}
		}
	})
	return nil
}

// onedShare is this process's share of the connections to oned.
type onedShare struct {
	oned   *opennebula.Client
	reads  *onedReads
	bridge *atomic.Pointer[bridge.Bridge]
	self   pipeline.Process
	disk   atomic.Pointer[pipeline.Disk] // of the data folder
	total  int
	share  atomic.Int64

	mutex         sync.Mutex
	began, called time.Time // when the process began to call oned, and its last call
}

func (s *onedShare) announce() pipeline.Process {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	said := s.self
	if b := s.bridge.Load(); b != nil {
		said.Hearing, said.Calls = b.Hears(), b.HearsCalls()
	}
	said.Disk = s.disk.Load()
	said.Calling, said.Servers, said.OnedReads = time.Since(s.called) < callingFor, s.oned.Servers(), s.reads.lastMinute(time.Now())
	return said
}

// watchDisk keeps the announced usage of the data folder's disk up to date. It is not read while announcing, because a disk
// that hangs must not silence the process.
func (s *onedShare) watchDisk(ctx context.Context, folder string) {
	for {
		if disk, known := pipeline.DiskOf(existing(absolute(folder))); known {
			s.disk.Store(&disk)
		}
		if idle.For(ctx, diskEvery) != nil {
			return
		}
	}
}

// existing returns a folder, or the nearest existing one above it: a data folder is made with its first file.
func existing(folder string) string {
	for {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// calculate returns the current share. The others do not count a process that has not called oned for a while: until they
// do it has the share that it would have if all of them called.
func (s *onedShare) calculate(others []pipeline.Process, now time.Time) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	calling := now.Sub(s.called) < callingFor
	if s.oned.Busy() {
		s.called = now
	}
	if !calling {
		s.began = now
	}
	share := presence.ShareConnections(s.total, s.self.ID, others, now)
	if now.Sub(s.began) >= heardAfter {
		return share
	}
	for i := range others {
		others[i].Calling = true
	}
	return min(share, max(1, presence.ShareConnections(s.total, s.self.ID, others, now)))
}

// slowRead is how long oned takes to read one object if it has to run an auth driver first, or is overloaded; otherwise it
// takes some 2 ms.
const slowRead = 150 * time.Millisecond

// readsOfOne are the calls that measure oned's speed: they cost the same however many objects oned has.
var readsOfOne = []string{"one.document.info", "one.vm.info", "one.user.info", "one.vn.info"}

// onedReads counts reads of one object in the last minute, in buckets of ten seconds.
type onedReads struct {
	slow prometheus.Counter

	mutex   sync.Mutex
	buckets [6]readsBucket
}

type readsBucket struct {
	number int64
	pipeline.OnedReads
}

const bucketLength = 10 // seconds

// measure registers the durations of calls to oned as metrics, and returns the function that records each.
func (r *onedReads) measure(metrics prometheus.Registerer) func(method string, took time.Duration) {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flowjet_oned_call_seconds",
		Help:    "Duration of calls to oned, without the wait for a connection, by method.",
		Buckets: []float64{0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30},
	}, []string{"method"})
	r.slow = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flowjet_oned_slow_reads_total",
		Help: "Reads of one object that took more than 150 ms instead of about 2 ms: sessions invalidate each other at oned, or oned is overloaded.",
	})
	metrics.MustRegister(calls, r.slow)
	return func(method string, took time.Duration) {
		calls.WithLabelValues(method).Observe(took.Seconds())
		if slices.Contains(readsOfOne, method) {
			r.note(took, time.Now())
		}
	}
}

func (r *onedReads) note(took time.Duration, now time.Time) {
	if took > slowRead {
		r.slow.Inc()
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	number := now.Unix() / bucketLength
	bucket := &r.buckets[number%int64(len(r.buckets))]
	if bucket.number != number {
		*bucket = readsBucket{number: number}
	}
	bucket.Reads++
	if took > slowRead {
		bucket.Slow++
	}
}

func (r *onedReads) lastMinute(now time.Time) (sum pipeline.OnedReads) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	oldest := now.Unix()/bucketLength - int64(len(r.buckets)) + 1
	for _, bucket := range r.buckets {
		if bucket.number >= oldest {
			sum.Reads += bucket.Reads
			sum.Slow += bucket.Slow
		}
	}
	return sum
}

// identityOf returns the constant part of a process's announcement. A pod is no member: it never comes back under its name,
// and Kubernetes maintains the number of pods.
func identityOf(a *App) pipeline.Process {
	self := pipeline.Process{ID: name("process"), Release: a.version}
	for _, part := range []Part{PartBridge, PartWorker, PartAPI} {
		if a.has(part) {
			self.Parts = append(self.Parts, string(part))
		}
	}
	host, err := os.Hostname()
	if _, pod := os.LookupEnv("KUBERNETES_SERVICE_HOST"); err != nil || pod {
		return self
	}
	self.Host, self.Name = host, host
	what := "up"
	if len(self.Parts) == 1 {
		what = self.Parts[0]
	}
	self.Name += " " + what
	if folder := filepath.Clean(a.config.DataDir); folder != filepath.Clean(standardDataDir) && folder != packagedDataDir && filepath.Dir(folder) != packagedDataDir {
		self.Name += " " + filepath.Base(folder)
	}
	return self
}

// packagedDataDir is the data folders' parent in the packages' units: a host has one of each.
const packagedDataDir = "/var/lib/flowjet"

// keepMembers makes one of the workers record which processes are expected.
func (a *App) keepMembers(ctx context.Context) error {
	follower, err := presence.Follow(a.pipe)
	if err != nil {
		return err
	}
	a.onStop(func(context.Context) error { follower.Stop(); return nil })
	a.background(ctx, func(ctx context.Context) {
		follower.Keep(ctx, func() bool { return a.worker.Owns(pipeline.RouterKey) })
	})
	return nil
}

func startBridge(ctx context.Context, a *App) error {
	b := bridge.New(bridge.Config{
		Zone:       a.config.Zone,
		Endpoints:  a.config.One.Hooks,
		XMLRPC:     a.config.One.XMLRPC[0],
		Events:     a.config.Bridge.Events,
		Holder:     name("bridge"),
		SpillDir:   filepath.Join(a.config.DataDir, "bridge"),
		Logger:     a.logger.With("part", "bridge"),
		Registerer: a.metrics,
	}, a.pipe, a.oned)
	a.onStop(b.Stop)
	// The bridge first asks oned for the zone's servers.
	return a.untilDone(ctx, "cannot get the endpoints of hook events from oned", func(ctx context.Context) (err error, final bool) {
		if err = b.Start(ctx); err == nil {
			a.bridge.Store(b)
			return nil, false
		}
		if !opennebula.Temporary(err) {
			return fmt.Errorf("%w (see --one-hooks and --bridge-…)", err), true
		}
		return err, false
	})
}

// feedsOf returns the state of a bridge's connection to each endpoint; nil if there is no bridge.
func feedsOf(b *bridge.Bridge) []restapi.FeedHealth {
	if b == nil {
		return nil
	}
	var feeds []restapi.FeedHealth
	now := time.Now()
	for _, status := range b.Status() {
		feeds = append(feeds, restapi.FeedHealth{
			Endpoint: status.Endpoint, Connected: status.Connected, SilentSeconds: int(status.SilentFor(now).Seconds()),
			EventsPerSecond: status.Rate, Gaps: status.Gaps, LastResync: status.LastResync, Role: status.Role, Leads: status.Leads(),
			Publishes: status.Holding, Waiting: status.QueueLength, Spilled: status.Spilled, Error: cmp.Or(status.Error, status.StoreError, status.ResyncError),
		})
	}
	return feeds
}
