// Package embedded runs a NATS server with JetStream inside this process, for
// `flowjet up` and for tools that work on its data folder.
//
// It is a package of its own so that a process that connects to NATS servers elsewhere does not link one.
//
// Safety: a folder has one server at a time; two would destroy each other's
// streams. Liveness: a server that stopped writing because the disk was full is
// restarted, on the same address, once there is room.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// MaxPayload is the largest message that the embedded server accepts, in bytes: a service of
	// 10,000 VMs has a record of about 3 MB. nats-server warns of more than 8 MiB.
	MaxPayload = 8 << 20

	lockFile    = "flowjet.lock"
	serverReady = 30 * time.Second
	// readyStep is how long one check of a starting server takes.
	readyStep = 100 * time.Millisecond
)

// ErrInUse is returned when another server uses the data folder.
var ErrInUse = errors.New("in use by another Flowjet; stop it or choose another folder")

// Config sets how the server runs.
type Config struct {
	// StoreDir is the folder for the streams. It is made if it is missing.
	StoreDir string
	// Listen is host:port; port 0 or an empty text means a port of the system's choice on 127.0.0.1.
	Listen string
	// MaxStore is how many bytes the streams may use; 0 is the value of File, or three quarters of the disk.
	MaxStore int64
	// Name identifies the server in its cluster; default flowjet.
	Name string
	// Cluster joins servers into one; nil for a server alone.
	Cluster *Cluster
	// File is a nats-server configuration file for everything else: accounts,
	// users, TLS, limits. The fields of Config override it.
	File   string
	Logger *slog.Logger
}

// Cluster is a server's part in a cluster: the one that File names, or flowjet.
type Cluster struct {
	// Listen is host:port for the other servers.
	Listen string
	// Routes are the other servers' cluster addresses, nats://host:port.
	Routes []string
}

// Server is a NATS server with JetStream inside this process.
type Server struct {
	config Config
	lock   *flock.Flock
	stop   sync.Once
	done   chan struct{}
	// life ends with Stop, and guarding waits for the goroutine that watches the disk.
	life     context.Context
	end      context.CancelFunc
	guarding sync.WaitGroup
	// port is the first server's, which the system may have chosen, and cut watches the routes; for guard only.
	port int
	cut  cut

	mu   sync.Mutex
	nats *server.Server // replaced by guard
}

// Start starts the server and returns when clients can connect. A folder that cannot be written or
// is used by another server, and a port in use, are errors of one line that name it.
func Start(config Config) (*Server, error) {
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	lock, err := lockStore(config.StoreDir)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, lock: lock, done: make(chan struct{})}
	options, err := s.options()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	running, broken, err := runServer(options, config.Logger)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.nats = running
	if address, isTCP := running.Addr().(*net.TCPAddr); isTCP {
		s.port = address.Port
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.guarding.Go(func() { s.guard(broken) })
	return s, nil
}

func (s *Server) current() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nats
}

// Reload reads the server's file again: users, permissions and certificates change without a
// restart. A change that needs one is an error, and then nothing changes.
func (s *Server) Reload() error {
	if s.config.File == "" {
		return nil
	}
	options, err := s.options()
	if err == nil {
		err = s.current().ReloadOptions(options)
	}
	if err != nil {
		return fmt.Errorf("reload the NATS server's file %s: %w", s.config.File, err)
	}
	return nil
}

// URL returns the address for clients: nats://127.0.0.1:4222.
func (s *Server) URL() string { return s.current().ClientURL() }

// Ready reports whether JetStream can be used: in a cluster it needs a leader and has to
// have caught up with it.
func (s *Server) Ready() bool {
	now := s.current()
	if !now.JetStreamEnabled() || !now.JetStreamIsClustered() {
		return now.JetStreamEnabled()
	}
	info, err := now.Jsz(nil)
	return err == nil && info.Meta != nil && info.Meta.Leader != "" && now.JetStreamIsCurrent()
}

// InProcess returns the option for Config.Options with which this process uses
// its server through memory instead of TCP.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s) }

// InProcessConn returns a connection to the current server.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

// Stop stops the server: it accepts no more messages, writes its data and unlocks the folder. If
// ctx ends first Stop returns its error and the rest is done in the background.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		go func() {
			defer close(s.done)
			s.end()
			s.guarding.Wait()
			running := s.current()
			running.Shutdown()
			running.WaitForShutdown()
			_ = s.lock.Close()
		}()
	})
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the embedded NATS server: %w", ctx.Err())
	}
}

func (s *Server) options() (*server.Options, error) {
	options, err := serverOptions(s.config)
	if err == nil && s.config.Cluster != nil { // a cluster of File alone may ping too seldom
		s.cut.allow(options)
	}
	return options, err
}

func serverOptions(config Config) (*server.Options, error) {
	host, port, err := splitListen(config.Listen)
	if err != nil {
		return nil, err
	}
	options := &server.Options{}
	if config.File != "" {
		if options, err = server.ProcessConfigFile(config.File); err != nil {
			return nil, fmt.Errorf("read the NATS server's file: %w: it is a nats-server configuration; the packages have one in /usr/share/flowjet/nats/server.conf", err)
		}
	}
	options.ServerName = cmp.Or(config.Name, options.ServerName, "flowjet")
	options.Host, options.Port = host, port
	options.NoSigs = true // Ctrl-C is the application's to handle.
	options.JetStream, options.StoreDir = true, config.StoreDir
	// Every message is on the disk before it is acknowledged, unless the file has its own
	// sync_interval: then a power failure loses up to that much, and a crash of the process nothing.
	options.SyncAlways = options.SyncAlways || options.SyncInterval == 0
	options.MaxPayload = max(options.MaxPayload, MaxPayload)
	options.JetStreamMaxStore = cmp.Or(config.MaxStore, options.JetStreamMaxStore, shareOfDisk(config.StoreDir))
	options.WriteDeadline = cmp.Or(options.WriteDeadline, 10*time.Second)
	if config.Cluster == nil {
		return options, nil
	}
	return options, joinCluster(options, *config.Cluster)
}

// joinCluster adds the cluster. Clients get the name under which the cluster knows this server:
// servers advertise their IP addresses by default, which their
// certificates do not name.
func joinCluster(options *server.Options, cluster Cluster) error {
	host, port, err := splitListen(cluster.Listen)
	if err != nil {
		return err
	}
	options.Cluster.Name, options.Cluster.Host, options.Cluster.Port = cmp.Or(options.Cluster.Name, "flowjet"), host, port
	// A server that is cut off is noticed in three seconds; by default it takes a minute or more.
	options.Cluster.PingInterval = cmp.Or(options.Cluster.PingInterval, time.Second)
	options.Cluster.MaxPingsOut = cmp.Or(options.Cluster.MaxPingsOut, 2)
	options.Routes = server.RoutesFromStr(strings.Join(cluster.Routes, ","))
	if len(options.Routes) != len(cluster.Routes) || slices.Contains(options.Routes, nil) {
		return fmt.Errorf("start the embedded NATS server: the cluster's routes %v are not all nats://host:port", cluster.Routes)
	}
	for _, route := range options.Routes {
		if options.Cluster.Username != "" && route.User == nil { // the others have the same file
			route.User = url.UserPassword(options.Cluster.Username, options.Cluster.Password)
		}
		name := route.Hostname()
		if name != options.ServerName && !strings.HasPrefix(name, options.ServerName+".") {
			continue
		}
		options.Cluster.Advertise = cmp.Or(options.Cluster.Advertise, route.Host)
		if options.ClientAdvertise == "" && options.Port > 0 {
			options.ClientAdvertise = net.JoinHostPort(name, strconv.Itoa(options.Port))
		}
	}
	return nil
}

func splitListen(listen string) (string, int, error) {
	if listen == "" {
		return "127.0.0.1", server.RANDOM_PORT, nil
	}
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("start the embedded NATS server: the address %q is not host:port: %w", listen, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("start the embedded NATS server: the port in %q is not a number up to 65535", listen)
	}
	return host, cmp.Or(int(port), server.RANDOM_PORT), nil
}

// lockStore keeps a second server out of the folder: two on one store both start, and destroy each
// other's streams. The lock ends with the process, so a kill leaves nothing to clean up.
func lockStore(dir string) (*flock.Flock, error) {
	if dir == "" {
		return nil, errors.New("start the embedded NATS server: no data folder is set")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: cannot create the data folder %s: %w", dir, err)
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: cannot write to the data folder %s: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("start the embedded NATS server: the data folder %s is %w", dir, ErrInUse)
	}
	return lock, nil
}

// shareOfDisk returns three quarters of the disk that a folder is on, in bytes; 0 if that is not
// known. It ignores the free space, which nats-server would use: that shrinks when other data
// fills the disk, and a restarted server would then have too little for its copies of streams
// and drop them (2.15), although it could go on as soon as there is room.
func shareOfDisk(folder string) int64 {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(folder, &disk); err != nil {
		return 0
	}
	return int64(disk.Blocks / 4 * 3 * uint64(disk.Bsize))
}

// runServer starts the server, which reports errors of its start only to its
// logger's Fatalf: the first such line becomes the error. broken has a value when
// the server has stopped writing.
func runServer(options *server.Options, logger *slog.Logger) (running *server.Server, broken <-chan failure, err error) {
	if options.Port != server.RANDOM_PORT { // the server would log in three lines that the port is taken
		address := net.JoinHostPort(options.Host, strconv.Itoa(options.Port))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, nil, fmt.Errorf("start the embedded NATS server: cannot listen on %s: %w; choose another address with --nats-listen", address, err)
		}
		_ = listener.Close()
	}
	running, err = server.NewServer(options)
	if err != nil {
		return nil, nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	lines := newLogger(logger)
	running.SetLoggerV2(lines, false, false, false)
	go running.Start()
	for deadline := time.Now().Add(serverReady); !running.ReadyForConnections(readyStep); {
		select {
		case reason := <-lines.fatal:
			err = errors.New(reason)
		default:
			if time.Now().Before(deadline) {
				continue
			}
			err = fmt.Errorf("not ready after %v", serverReady)
		}
		running.Shutdown()
		return nil, nil, fmt.Errorf("start the embedded NATS server on %s: %w", options.StoreDir, err)
	}
	return running, lines.broken, nil
}
