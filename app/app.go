// Package app assembles Flowjet: an embedded NATS server or a connection to one, the simulated OpenNebula if configured,
// the bridge, a worker and the API.
//
// Everything that Start acquires, Stop releases in reverse, within its context's time; a Start that fails releases
// everything that it had acquired.
package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
	"github.com/flowjet/flowjet/restapi"
	"github.com/flowjet/flowjet/sim"
	"github.com/flowjet/flowjet/webhooks"
)

// Part is a part of Flowjet that a process can run.
type Part string

// The parts, in the order in which they start.
const (
	PartNATS     Part = "nats"
	PartSim      Part = "sim"
	PartNarrator Part = "narrator"
	PartWorker   Part = "worker"
	PartBridge   Part = "bridge"
	PartAPI      Part = "api"
)

// Everything returns the parts of `flowjet up`: NATS unless another is configured, the simulator if configured, and all of
// Flowjet.
func Everything(config Config) []Part {
	parts := []Part{PartNarrator, PartWorker, PartBridge, PartAPI}
	if config.NATS.URL == "" {
		parts = append(parts, PartNATS)
	}
	if config.Sim.Enabled {
		parts = append(parts, PartSim)
	}
	return parts
}

// App is one process with some or all parts of Flowjet in it.
type App struct {
	config  Config
	read    Config // the configuration as it was read: in config, a simulator's addresses replace oned's
	parts   []Part
	version string
	logger  *slog.Logger
	out     io.Writer
	metrics *prometheus.Registry

	server       *embedded.Server
	sim          *sim.Sim
	oned         *opennebula.Client
	contact      *contact
	reads        *onedReads
	pipe         *pipeline.Pipeline
	bridge       atomic.Pointer[bridge.Bridge]
	hearing      func() bool
	hearingCalls func() string // identifies the connection on which bridges hear calls; empty while none does
	worker       *consumers.Worker
	webhooks     *webhooks.Deliverer
	api          *restapi.Server
	release      []func(context.Context) error // in the order of acquisition

	statusAddress string
}

// New makes an app of the parts, which is not running; out receives text for people, and version is what the API returns as
// its version.
func New(config Config, parts []Part, version string, out io.Writer, logger *slog.Logger) *App {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &App{
		config: config, read: config, parts: parts, version: version, out: out, logger: logger, metrics: metrics, reads: &onedReads{},
		contact: &contact{failed: make(chan error, 2)},
	}
}

// Start starts the parts in the order in which they need each other.
func (a *App) Start(ctx context.Context) error {
	working := a.has(PartWorker) || a.has(PartBridge) || a.has(PartAPI) // uses NATS
	steps := []struct {
		wanted bool
		start  func(context.Context) error
	}{
		{working || a.has(PartNATS), func(context.Context) error { return a.keep(boundMemory(a.parts), nil) }},
		{slices.ContainsFunc(collectorVariables, func(name string) bool { return os.Getenv(name) != "" }), func(ctx context.Context) error {
			return a.keep(startTracing(ctx, a.version, name(string(a.role())), a.logger))
		}},
		{a.has(PartNATS), a.startServer},
		{a.has(PartSim), a.startSim},
		{working, a.connectOned},
		{working, a.openPipeline},
		{working, a.shareOned},
		{a.has(PartNarrator), func(context.Context) error { return a.keep(startNarrator(a.pipe.Conn(), a.out)) }},
		{a.has(PartWorker), a.startWorker},
		{a.has(PartWorker), a.keepMembers},
		{a.has(PartBridge), func(ctx context.Context) error { return startBridge(ctx, a) }},
		{a.has(PartAPI), a.startAPI},
		{a.config.Status.Listen != "", func(ctx context.Context) error { return startStatus(ctx, a) }},
	}
	for _, step := range steps {
		if !step.wanted {
			continue
		}
		if err := step.start(ctx); err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			return errors.Join(err, a.Stop(undo))
		}
	}
	return nil
}

func (a *App) has(part Part) bool { return slices.Contains(a.parts, part) }

// Stop releases what Start acquired, in reverse.
func (a *App) Stop(ctx context.Context) error {
	var failed error
	for _, release := range slices.Backward(a.release) {
		failed = errors.Join(failed, release(ctx))
	}
	a.release = nil
	return failed
}

// ErrConnectionLost is why a process ends that NATS has shut out: the next start makes a new connection.
var ErrConnectionLost = errors.New("NATS has closed the connection permanently; the process exits so that it is restarted")

// Lost is closed when the app cannot continue, for ErrConnectionLost; valid after Start.
func (a *App) Lost() <-chan struct{} {
	if a.pipe == nil {
		return nil
	}
	return a.pipe.Lost()
}

// APIAddress returns the API's listen address, host:port, empty without an API; valid after Start.
func (a *App) APIAddress() string {
	if a.api == nil {
		return ""
	}
	return a.api.Addr()
}

// Sim returns the simulated OpenNebula, nil without one; valid after Start.
func (a *App) Sim() *sim.Sim { return a.sim }

func (a *App) onStop(release func(context.Context) error) { a.release = append(a.release, release) }

// keep registers a release of a started part for Stop.
func (a *App) keep(release func(context.Context) error, err error) error {
	if release != nil {
		a.onStop(release)
	}
	return err
}

// background calls run in a goroutine until Stop, which waits for its end. It outlives ctx.
func (a *App) background(ctx context.Context, run func(context.Context)) {
	a.onStop(inBackground(context.WithoutCancel(ctx), run))
}

// inBackground calls run in a goroutine until release, which waits for its end.
func inBackground(ctx context.Context, run func(context.Context)) (release func(context.Context) error) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	return func(context.Context) error { stop(); running.Wait(); return nil }
}

func (a *App) startServer(context.Context) error {
	if err := makeDataDir(a.config.DataDir); err != nil {
		return err
	}
	file, err := a.config.serverFile()
	if err != nil {
		return err
	}
	var cluster *embedded.Cluster
	if len(a.config.NATS.Routes) > 0 {
		cluster = &embedded.Cluster{Listen: a.config.NATS.ClusterListen, Routes: a.config.NATS.Routes}
	}
	server, err := startEmbedded(embedded.Config{
		StoreDir: a.config.streamsFolder(),
		Listen:   a.config.NATS.Listen,
		Name:     a.config.NATS.Name,
		Cluster:  cluster,
		File:     file,
		Logger:   a.logger.With("part", "nats"),
	})
	if err != nil {
		return err
	}
	a.server = server
	a.onStop(server.Stop)
	return nil
}

// startEmbedded starts an embedded server. Of a disk without free inodes nats-server says only that the folder is not writable.
func startEmbedded(config embedded.Config) (*embedded.Server, error) {
	server, err := embedded.Start(config)
	if disk, known := pipeline.DiskOf(config.StoreDir); err != nil && known && disk.Inodes >= 1 {
		return nil, fmt.Errorf("%w: no free inodes on its disk, and each file needs one: remove files there", err)
	}
	return server, err
}

func makeDataDir(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("create the data folder %s: %w: choose another with --data-dir", folder, err)
	}
	return nil
}

func (a *App) startSim(ctx context.Context) error {
	if err := makeDataDir(a.config.DataDir); err != nil {
		return err
	}
	// The server user keeps its password over restarts: it is the key of data that is stored encrypted.
	path := filepath.Join(a.config.DataDir, "simulated-opennebula.password")
	password, err := os.ReadFile(path)
	if err != nil || len(password) == 0 {
		password = []byte(rand.Text())
		if err := writeWhole(path, password, ownSecret); err != nil {
			return fmt.Errorf("store the simulator's credentials: %w: choose another folder with --data-dir", err)
		}
	}
	addresses := a.config.Sim.Listen
	var others []sim.ServerAddress
	for pair := range slices.Chunk(addresses[3:], 2) {
		others = append(others, sim.ServerAddress{XMLRPCListen: pair[0], HooksListen: pair[1]})
	}
	simulated, err := sim.New(sim.Config{
		Zone:           a.config.Zone,
		ServerPassword: string(password),
		StateFile:      filepath.Join(a.config.DataDir, "simulated-opennebula.db"),
		XMLRPCListen:   addresses[0],
		HooksListen:    addresses[1],
		ControlListen:  addresses[2],
		Others:         others,
		BootDelay:      cmp.Or(a.config.Sim.BootDelay, sim.NoDelay), // the simulator takes 0 as "not set"
		TimeFactor:     float64(a.config.Sim.TimePercent) / 100,
		Logger:         a.logger.With("part", "sim"),
	})
	if err != nil {
		return err
	}
	if err := simulated.Start(ctx); err != nil {
		return err
	}
	a.sim = simulated
	a.onStop(simulated.Stop)
	a.config.One.XMLRPC, a.config.One.Hooks = nil, nil
	for _, server := range simulated.Servers() {
		a.config.One.XMLRPC = append(a.config.One.XMLRPC, server.Endpoint)
		a.config.One.Hooks = append(a.config.One.Hooks, server.Hooks)
	}
	// Commands and other processes read the credentials from the data folder.
	for name, pair := range map[string]string{SimulatedAuthFile: simulated.ServerCredentials(), simulatedUserFile: simulatedUser} {
		if err := os.WriteFile(filepath.Join(a.config.DataDir, name), []byte(pair+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the simulator's credentials: %w: choose another folder with --data-dir", err)
		}
	}
	return nil
}

// startPatience is how long a start waits for a dependency before it reports what is missing.
const (
	startPatience   = 5 * time.Second
	clusterPatience = time.Minute
)

// credentials returns the server user's: the simulator's own, or the auth file's.
func (a *App) credentials() (opennebula.Credentials, error) {
	if a.sim != nil {
		return opennebula.ParseCredentials(a.sim.ServerCredentials())
	}
	return readCredentials(a.config.One.AuthFile)
}

func (a *App) openPipeline(ctx context.Context) error {
	url, options, advice := a.config.NATS.URL, []nats.Option(nil), "check --nats-url"
	patience := 2 * startPatience
	if a.config.NATS.Replicas > 1 {
		patience = clusterPatience // the servers have to find each other first
	}
	if a.server != nil { // it is running, and may be slow
		url, options, patience = a.server.URL(), append(options, a.server.InProcess()), clusterPatience
		advice = "the NATS server is in this process: look at the log, the disk and --data-dir"
	}
	opening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pipe, err := a.config.Open(opening, pipeline.Config{
		URL:     url,
		Options: options,
		Bound:   !a.config.NATS.Provision,
		Role:    a.role(),
		Name:    "flowjet " + string(a.role()),
		Logger:  a.logger.With("part", "nats"),
	})
	if err != nil {
		return withAdvice(err, advice)
	}
	a.pipe = pipe
	a.onStop(func(context.Context) error { pipe.Close(); return nil })
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flowjet_build_info", Help: "1, with the version as a label."}, []string{"version", "go"})
	build.WithLabelValues(a.version, runtime.Version()).Set(1)
	a.metrics.MustRegister(build,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flowjet_nats_connected", Help: "1 while the process is connected to NATS."}, func() float64 {
			return oneIf(pipe.State().Connected)
		}),
	)
	if a.has(PartWorker) {
		a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flowjet_worker_held_up", Help: "1 while services wait because oned or NATS is unreachable or refuses.",
		}, func() float64 { return oneIf(len(a.notReady()) > 0) }))
	}
	if a.has(PartAPI) {
		return a.keep(measureWhole(pipe, a.metrics))
	}
	return nil
}

// scanEvery is the interval of scans of all services, in idle times of a waiting service.
const scanEvery = 4

func (a *App) startWorker(ctx context.Context) error {
	a.worker = consumers.New(consumers.Config{
		ID:           name("worker"),
		Settings:     a.config.Settings(),
		ScanInterval: scanEvery * a.config.Worker.CheckInterval,
		Hearing:      a.hearing,
		Logger:       a.logger.With("part", "worker"),
		Registerer:   a.metrics,
	}, a.pipe, a.oned)
	if a.config.Webhooks.File != "" {
		settings, err := webhooks.ReadSettings(a.config.Webhooks.File)
		if err != nil {
			return fmt.Errorf("%w (check --webhooks-file, and that the user who runs Flowjet may read it)", err)
		}
		a.webhooks = webhooks.New(webhooks.Config{
			Settings: settings, Owns: a.worker.Owns, Version: a.version,
			Logger: a.logger.With("part", "webhooks"), Registerer: a.metrics,
		}, a.pipe)
		// Webhooks start first, so that everything that the worker does is delivered.
		if err := a.webhooks.Start(ctx); err != nil {
			return err
		}
		a.onStop(a.webhooks.Stop)
	}
	if err := a.worker.Start(ctx); err != nil {
		return err
	}
	a.onStop(a.worker.Stop)
	return nil
}

func (a *App) startAPI(ctx context.Context) error {
	api, err := restapi.New(restapi.Config{
		Listen:          a.config.API.Listen,
		CertificateFile: a.config.API.CertificateFile,
		KeyFile:         a.config.API.KeyFile,
		ActionNumber:    a.config.API.ActionNumber,
		ActionPeriod:    a.config.API.ActionPeriod,
		Settings:        a.config.Settings(),
		VMLink:          a.config.API.VMLink,
		Version:         a.version,
		Metrics:         a.metrics,
		NotReady:        a.notReady,
		Feeds:           func() []restapi.FeedHealth { return feedsOf(a.bridge.Load()) },
		HearingCalls:    a.hearingCalls,
		Logger:          a.logger.With("part", "api"),
	}, a.pipe, a.oned)
	if err != nil {
		return err
	}
	if err := api.Start(ctx); err != nil {
		return err
	}
	a.api = api
	a.onStop(api.Stop)
	if a.config.API.ServiceLogDir == "" {
		return nil
	}
	return a.keep(startServiceLogs(ctx, a.config.API.ServiceLogDir, a.pipe, a.logger.With("part", "service-logs")))
}

// notReady returns the reasons why requests would wait.
func (a *App) notReady() []string {
	if waiting := a.contact.waits(); waiting != "" {
		return []string{waiting}
	}
	if a.worker == nil {
		return nil
	}
	if reason, since := a.worker.Degraded(); reason != "" {
		return []string{fmt.Sprintf("the worker has been blocked since %s: %s", since.UTC().Format(time.RFC3339), reason)}
	}
	return nil
}

// name returns a part's name in this process, unique among all.
func name(part string) string {
	return fmt.Sprintf("%s-%s-%s", part, pipeline.Hostname(), nuid.Next()[16:])
}

// role returns this process's role at NATS.
func (a *App) role() pipeline.Role {
	working := slices.DeleteFunc(slices.Clone(a.parts), func(part Part) bool {
		return part != PartWorker && part != PartBridge && part != PartAPI
	})
	if len(working) != 1 || a.has(PartNATS) { // the process with the server makes the streams
		return pipeline.RoleAll
	}
	return map[Part]pipeline.Role{PartWorker: pipeline.RoleWorker, PartBridge: pipeline.RoleBridge, PartAPI: pipeline.RoleAPI}[working[0]]
}
