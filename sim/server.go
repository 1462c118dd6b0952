package sim

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/sim/internal/gate"
)

// server is one oned of the zone: it answers calls (calls.go), authenticates clients and forwards writes to the leader.
type server struct {
	zone  *zone
	index int
	// The addresses are the configured ones until the first start, and then the real ones: they do not change again, and
	// are read without a lock.
	rpcAddress, hooksAddress string
	gate                     *gate.Gate
	sessions                 sessions
	sockets                  *serverSockets // nil while it does not run; the zone's lock guards them
}

// serverSockets are the sockets on which a oned listens.
type serverSockets struct {
	stopRPC func(ctx context.Context)
	events  *zmqpub.Publisher
}

func (s *server) endpoint() string { return "http://" + s.rpcAddress + "/RPC2" }

func (s *server) hooksEndpoint() string { return "tcp://" + s.hooksAddress }

func (s *server) open(ctx context.Context) error {
	rpc, err := listen(ctx, "XML-RPC", s.rpcAddress)
	if err != nil {
		return err
	}
	events, err := listen(ctx, "hook events", s.hooksAddress)
	if err != nil {
		return errors.Join(err, rpc.Close())
	}
	if s.rpcAddress != rpc.Addr().String() || s.hooksAddress != events.Addr().String() {
		s.rpcAddress, s.hooksAddress = rpc.Addr().String(), events.Addr().String()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", s.serve)
	s.sockets = &serverSockets{
		stopRPC: serve(s.gate.Before(rpc), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().UTC().Format(onedDate))
			w.Header().Set("Server", "Xmlrpc-c_Abyss/1.33.14")
			w.Header().Set("Connection", "close") // oned's library keeps no connection, whatever KEEPALIVE_MAX_CONN is
			mux.ServeHTTP(w, r)
		}), s.zone.config.Logger),
		events: zmqpub.New(events, zmqpub.Config{HighWater: s.zone.config.HooksHighWater, Logger: s.zone.config.Logger}),
	}
	return nil
}

// onedDate is the format of the Date in oned's answers: UTC, where HTTP wants GMT.
const onedDate = "Mon, 02 Jan 2006 15:04:05 UTC"

func closeSockets(ctx context.Context, all ...*serverSockets) {
	for _, one := range all {
		one.stopRPC(ctx)
		one.events.Close()
	}
}

// atOnce returns a context that makes sockets cut every connection, as a kill does.
func atOnce() context.Context {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}

// maxRequestBytes bounds a call's body. The largest real ones carry a service's document.
const maxRequestBytes = 16 << 20

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		http.Error(w, "the call is too long or ended early", http.StatusRequestEntityTooLarge)
		return
	}
	answer := s.answer(r.Context(), body)
	if answer == nil {
		// net/http has no other way to close a connection without an answer.
		panic(http.ErrAbortHandler)
	}
	defer answer.Release()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(answer.Len()))
	_, _ = w.Write(answer.Bytes())
}

// requestTimeout is oned's TIMEOUT for receiving a call.
const requestTimeout = 15 * time.Second

// serve answers HTTP requests on a listener. stop lets open ones finish until the context ends, then closes everything.
func serve(listener net.Listener, handler http.Handler, logger *slog.Logger) (stop func(ctx context.Context)) {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: requestTimeout, IdleTimeout: requestTimeout,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("a server of the simulator ended", "address", listener.Addr().String(), "error", err)
		}
	}()
	return func(ctx context.Context) {
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-ended
	}
}

// listen opens a TCP port; the error names its purpose, the address, and the mend.
func listen(ctx context.Context, what, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: the port is taken: "+
			"stop what uses it or choose another with --sim-listen", what, address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: %w: choose another address with --sim-listen", what, address, err)
	}
	return listener, nil
}

// claim is the content of a session string, and whether it is true.
type claim struct {
	who      identity
	valid    bool
	proof    string // the part of the session that oned remembers, "" for a login token
	byDriver bool   // the authentication driver has to be asked
}

// claim reads a session string:
//
//	name:password                       a user's own
//	name:token                          a login token, perhaps scoped to a group
//	serveradmin:<target>:<cipher token> the server user, acting for the target
//
// All of it is used literally: oned unescapes nothing. The caller holds the lock.
func (c *cloud) claim(session string) claim {
	name, secret, found := strings.Cut(session, ":")
	if !found {
		return claim{}
	}
	u := c.userNamed(name)
	if u == nil || u.Disabled {
		return claim{}
	}
	if u.Driver == driverServer {
		return c.serverClaim(u, secret)
	}
	who := identity{user: u, gid: u.GID, groups: u.Groups}
	for _, t := range u.Tokens {
		switch {
		case !t.alive() || subtle.ConstantTimeCompare([]byte(t.Token), []byte(secret)) == 0:
		case t.GID < 0:
			return claim{who: who, valid: true}
		case !who.inGroup(t.GID):
			return claim{}
		default:
			return claim{who: identity{user: u, gid: t.GID, groups: []int{t.GID}}, valid: true}
		}
	}
	matches := subtle.ConstantTimeCompare([]byte(hashPassword(secret)), []byte(u.PasswordHash)) == 1
	return claim{who: who, valid: matches && u.Driver == driverCore, proof: secret}
}

// serverClaim reads "<target>:<token>" or "<target>:<group>:<token>"; the token's plain text is "<server
// user>:<target>:<expiry>". As in oned, the session's target and group are not checked, nor whether the target is
// enabled: the driver compares the server user's name and the expiry, nothing else.
func (c *cloud) serverClaim(server *user, rest string) claim {
	target, token, found := strings.Cut(rest, ":")
	if !found {
		return claim{}
	}
	group := -1
	if text, after, scoped := strings.Cut(token, ":"); scoped {
		gid, err := strconv.Atoi(text)
		if err != nil {
			return claim{}
		}
		group, token = gid, after
	}
	u := c.userNamed(target)
	if u == nil {
		return claim{}
	}
	read := claim{who: identity{user: u, gid: u.GID, groups: u.Groups}, proof: token, byDriver: true}
	if group >= 0 {
		read.who.gid, read.who.groups = group, []int{group}
	}
	plain, ok := decryptServerToken(server.PasswordHash, token)
	parts := strings.Split(plain, ":")
	seconds, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	read.valid = ok && parts[0] == server.Name && err == nil && seconds > time.Now().Unix()
	return read
}

// decryptServerToken undoes base64(AES-256-CBC(text)) with PKCS#7 padding; the key is the first
// half of the password's hex hash and the IV the key's first half, as core_auth's cipher has it.
func decryptServerToken(passwordHash, token string) (string, bool) {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 || len(passwordHash) < 32 {
		return "", false
	}
	key := []byte(passwordHash[:32])
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", false
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(raw, raw)
	last := raw[len(raw)-1]
	plain, padded := bytes.CutSuffix(raw, bytes.Repeat([]byte{last}, int(last)))
	return string(plain), padded && last > 0 && last <= aes.BlockSize
}

const (
	sessionLife = 15 * time.Minute // oned's SESSION_EXPIRATION_TIME
	// authDriverTime is the processor time of a run of oned's authentication driver, which is a process of its own.
	authDriverTime = 300 * time.Millisecond
)

// sessions are the sessions that one oned remembers.
type sessions struct {
	cached sync.Map // the cachedSession that was checked last, by the user's id
	// runs counts the authentication driver's runs. A run holds the server's only processor for as long as it costs.
	runs      atomic.Int64
	processor chan struct{}
	cost      time.Duration
}

type cachedSession struct {
	proof string
	until time.Time
}

// has reports whether the remembered proof of a user is that of the claim.
func (s *sessions) has(c claim) bool {
	found, known := s.cached.Load(c.who.user.ID)
	return known && found.(cachedSession).proof == c.proof && time.Now().Before(found.(cachedSession).until)
}

// runDriver waits for a run, after earlier runs. It continues when the client disconnects, as a process does.
func (s *sessions) runDriver(quit <-chan struct{}) {
	s.runs.Add(1)
	select {
	case s.processor <- struct{}{}:
		defer func() { <-s.processor }()
	case <-quit:
		return
	}
	select {
	case <-time.After(s.cost):
	case <-quit:
	}
}

// admit waits as long as a server takes to authenticate a session string. Login tokens and passwords are compared in
// memory, a password replaces the remembered session of the user; a server user's token costs a run of the driver unless it
// is the remembered one.
func (s *server) admit(session string) {
	var c claim
	s.view(func(cloud *cloud) { c = cloud.claim(session) })
	if c.proof == "" || c.byDriver && s.sessions.has(c) {
		return
	}
	if c.byDriver {
		s.sessions.runDriver(s.zone.quit)
	}
	if c.valid {
		s.sessions.cached.Store(c.who.user.ID, cachedSession{c.proof, time.Now().Add(sessionLife)})
	}
}
