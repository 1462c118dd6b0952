package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// secured is a NATS server that demands TLS and a known user, and everything
// that connects to it.
type secured struct {
	t      *testing.T
	folder string
	server *App
	log    *testlog.Log
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{t: t, folder: t.TempDir(), log: &testlog.Log{}}
	must(t, MakeKeys(s.folder))
	makeCertificate(t, s.folder)
	must(t, os.WriteFile(s.file("server.conf"), []byte(fmt.Sprintf(
		"include %q\ntls { cert_file: %q, key_file: %q, timeout: 10 }\n", AccountsFile, s.file("server.pem"), s.file("server.key"))), 0o600))
	s.server = s.start([]Part{PartNATS}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--nats-server-file", s.file("server.conf"))
	return s
}

func (s *secured) file(name string) string { return filepath.Join(s.folder, name) }

// as are the flags of a process that has a role's key.
func (s *secured) as(role pipeline.Role, more ...string) []string {
	return append([]string{
		"--nats-url", s.server.server.URL(), "--nats-ca-file", s.file("ca.pem"), "--nats-nkey-file", s.file(string(role) + ".nk"), "--nats-provision=false",
	}, more...)
}

func (s *secured) start(parts []Part, flags ...string) *App {
	s.t.Helper()
	started, err := s.try(parts, flags...)
	must(s.t, err)
	return started
}

func (s *secured) try(parts []Part, flags ...string) (*App, error) {
	s.t.Helper()
	config, err := ReadConfig("", flagsOf(s.t, flags...))
	must(s.t, err)
	logger := s.log.Logger()
	started := New(config, parts, "test", io.Discard, logger)
	if err := started.Start(s.t.Context()); err != nil {
		return nil, err
	}
	s.t.Cleanup(func() {
		stopping, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(s.t, started.Stop(stopping))
	})
	return started, nil
}

// provision makes the streams, as `flowjet nats provision` does.
func (s *secured) provision() {
	s.t.Helper()
	config, err := ReadConfig("", flagsOf(s.t, s.as(pipeline.RoleOperator, "--nats-provision=true")...))
	must(s.t, err)
	pipe, err := config.Open(s.t.Context(), pipeline.Config{Role: pipeline.RoleOperator})
	must(s.t, err)
	pipe.Close()
}

// TestEachPartLivesWithItsOwnUser takes a service through its life with bridge,
// worker and API in processes of their own, each with a NATS user that may do no
// more than its part has to, over TLS. Nothing that they do is denied.
func TestEachPartLivesWithItsOwnUser(t *testing.T) {
	s := newSecured(t)
	s.provision()
	zone := t.TempDir()
	cloud := s.start([]Part{PartSim}, "--sim", "--data-dir", zone,
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0")
	oned := []string{
		"--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", filepath.Join(zone, SimulatedAuthFile),
		"--default-cooldown", "1ms", "--data-dir", t.TempDir(),
	}
	s.start([]Part{PartWorker}, s.as(pipeline.RoleWorker, oned...)...)
	s.start([]Part{PartBridge}, s.as(pipeline.RoleBridge, oned...)...)
	api := s.start([]Part{PartAPI}, s.as(pipeline.RoleAPI, append(oned, "--api-listen", "127.0.0.1:0")...)...)
	lifeOf(t, "http://"+api.APIAddress())
	if said := s.log.String(); strings.Contains(said, "iolation") {
		t.Errorf("something was denied:\n%s", said)
	}
}

// A part whose key may not make the streams says what to do where they are missing, whether it is to make them or not.
func TestPartsBeforeTheStreamsAreProvisioned(t *testing.T) {
	s := newSecured(t)
	for _, provision := range []string{"--nats-provision=true", "--nats-provision=false"} {
		config, err := ReadConfig("", flagsOf(t, s.as(pipeline.RoleWorker, provision)...))
		must(t, err)
		_, err = config.Open(t.Context(), pipeline.Config{Role: pipeline.RoleWorker})
		if !errors.Is(err, pipeline.ErrNotProvisioned) || !strings.Contains(err.Error(), "flowjet nats provision") || strings.Contains(err.Error(), "\n") {
			t.Errorf("with %s: %v", provision, err)
		}
	}
}

// A part with another role's key says which key it needs, and not that time has passed.
func TestAPartWithTheKeyOfAnotherRole(t *testing.T) {
	s := newSecured(t)
	s.provision()
	for role, of := range map[pipeline.Role]struct {
		part Part
		key  pipeline.Role
	}{
		pipeline.RoleWorker: {PartWorker, pipeline.RoleBridge},
		pipeline.RoleBridge: {PartBridge, pipeline.RoleAPI},
		pipeline.RoleAPI:    {PartAPI, pipeline.RoleReader},
	} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			config, err := ReadConfig("", flagsOf(t, s.as(of.key)...))
			must(t, err)
			opening, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			err = New(config, []Part{of.part}, "test", io.Discard, s.log.Logger()).openPipeline(opening)
			if want := fmt.Sprintf("set the key of the role %s with --nats-nkey-file", role); err == nil || !strings.Contains(err.Error(), want) ||
				strings.Contains(err.Error(), "deadline") || strings.Contains(err.Error(), "--nats-url") {
				t.Errorf("with the key of %s: %v", of.key, err)
			}
		})
	}
	config, err := ReadConfig("", flagsOf(t, s.as(pipeline.RoleWorker)...))
	must(t, err)
	reading, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, _, err := config.Attach(reading, pipeline.Config{Role: pipeline.RoleOperator}); !errors.Is(err, pipeline.ErrOtherRole) {
		t.Errorf("a command with a part's key: %v", err)
	}
	storing, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, _, err := config.Store(storing, s.log.Logger()); !errors.Is(err, pipeline.ErrOtherRole) || strings.Contains(err.Error(), "--nats-url") {
		t.Errorf("a command that stores, with a part's key: %v", err)
	}
}

// That a key does not allow one thing is not taken for the reason why another fails.
func TestWhatIsDeniedIsToldApart(t *testing.T) {
	s := newSecured(t)
	s.provision()
	config, err := ReadConfig("", flagsOf(t, s.as(pipeline.RoleWorker)...))
	must(t, err)
	pipe, err := config.Open(t.Context(), pipeline.Config{Role: pipeline.RoleWorker})
	must(t, err)
	t.Cleanup(pipe.Close)
	const call = "STREAM.CREATE." + pipeline.StreamONE
	must(t, pipe.Announce("somebody.else", nil))
	poll.Until(t, "NATS to refuse it", func() bool { return errors.Is(pipe.JetStream().Conn().LastError(), nats.ErrPermissionViolation) })
	if pipe.Forbidden(call) {
		t.Errorf("%s counts as denied", call)
	}
	must(t, pipe.Announce("$JS.API."+call, nil))
	poll.Until(t, "NATS to refuse "+call, func() bool { return pipe.Forbidden(call) })
}

// lifeOf deploys, scales and ends a service, and follows its history.
func lifeOf(t *testing.T, api string) {
	t.Helper()
	template := call(t, http.MethodPost, api+"/service_template", `{"name": "pair", "deployment": "straight", "roles": [
		{"name": "a", "type": "vm", "cardinality": 1, "template_id": 0, "min_vms": 1, "max_vms": 3},
		{"name": "b", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["a"]}]}`, http.StatusCreated)
	service := call(t, http.MethodPost, fmt.Sprintf("%s/service_template/%d/action", api, template), `{"action": {"perform": "instantiate"}}`, http.StatusCreated)
	at := fmt.Sprintf("%s/service/%d", api, service)
	const running = 2
	poll.Until(t, "the service to run", func() bool { return stateOf(t, at) == running })
	call(t, http.MethodPost, at+"/scale", `{"role_name": "a", "cardinality": 2}`, http.StatusNoContent)
	poll.Until(t, "the service to have scaled", func() bool { return stateOf(t, at) == running })
	call(t, http.MethodDelete, at, "", http.StatusNoContent)
	poll.Until(t, "the service to be gone", func() bool { return stateOf(t, at) < 0 })
	awaitEvent(t, fmt.Sprintf("%s/flowjet/v1/events?service=%d&since=0", api, service))
}

// awaitEvent reads a stream of events until one has come.
func awaitEvent(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	request.SetBasicAuth("oneadmin", "opennebula")
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "id: ") {
			return
		}
	}
	t.Error("the history tells nothing")
}

// call is a request of oneadmin's; it returns the id of the document answered.
func call(t *testing.T, method, url, body string, want int) int {
	t.Helper()
	status, answer := ask(t, method, url, body)
	if status != want {
		t.Fatalf("%s %s: %d %s", method, url, status, answer)
	}
	var document struct {
		Document struct {
			ID int `json:"ID,string"`
		} `json:"DOCUMENT"`
	}
	_ = json.Unmarshal(answer, &document)
	return document.Document.ID
}

func ask(t *testing.T, method, url, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	request.SetBasicAuth("oneadmin", "opennebula")
	answer, err := http.DefaultClient.Do(request)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, text
}

// stateOf is a service's state, -1 when it is gone.
func stateOf(t *testing.T, at string) int {
	t.Helper()
	status, answer := ask(t, http.MethodGet, at, "")
	if status != http.StatusOK {
		return -1
	}
	var document struct {
		Document struct {
			Template struct {
				Body struct {
					State int `json:"state"`
				} `json:"BODY"`
			} `json:"TEMPLATE"`
		} `json:"DOCUMENT"`
	}
	must(t, json.Unmarshal(answer, &document))
	return document.Document.Template.Body.State
}

// connect is a bare connection with a role's key.
func (s *secured) connect(role pipeline.Role) (*nats.Conn, <-chan error) {
	s.t.Helper()
	seed, err := nats.NkeyOptionFromSeed(s.file(string(role) + ".nk"))
	must(s.t, err)
	failed := make(chan error, 64)
	conn, err := nats.Connect(s.server.server.URL(), nats.RootCAs(s.file("ca.pem")), seed, nats.Timeout(poll.Limit), nats.CustomInboxPrefix(role.InboxPrefix()),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { failed <- err }))
	must(s.t, err)
	s.t.Cleanup(conn.Close)
	return conn, failed
}

func TestWhatARoleMustNotDoIsDenied(t *testing.T) {
	s := newSecured(t)
	s.provision()
	denied := map[pipeline.Role][]string{
		pipeline.RoleBridge: {
			"flow.work.1", "flow.timer.1.look", "flow.event.1.service.DONE", "flow.dlq.worker", "flow.worker.w", "$KV.FLOW_STATE.1", "$KV.FLOW_COMMANDS.a",
			"$JS.API.STREAM.DELETE.ONE", "$JS.API.STREAM.PURGE.ONE", "$JS.API.STREAM.UPDATE.ONE", "$JS.API.STREAM.MSG.DELETE.ONE", "$JS.API.STREAM.CREATE.ONE",
			"$JS.API.CONSUMER.CREATE.WORK.x", "$JS.API.CONSUMER.CREATE.KV_FLOW_STATE.x", "$JS.API.STREAM.MSG.GET.KV_FLOW_STATE", "$JS.API.DIRECT.GET.FLOW", "_INBOX.api.x",
		},
		pipeline.RoleWorker: {
			"one.0.vm.1.ACTIVE.RUNNING", "one.lease.feed", "flow.bridge.feed", "flow.dlq.bridge", "$JS.API.STREAM.DELETE.WORK", "$JS.API.STREAM.PURGE.FLOW",
			"$JS.API.STREAM.PURGE.ONE", "$JS.API.STREAM.UPDATE.WORK", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.CONSUMER.CREATE.DLQ.x", "_INBOX.bridge.x", "_INBOX.operator.x",
		},
		pipeline.RoleAPI: {
			"one.0.vm.1.ACTIVE.RUNNING", "one.lease.feed", "flow.timer.1.look", "flow.event.1.service.DONE", "flow.worker.w", "flow.bridge.feed", "flow.dlq.worker",
			"$KV.FLOW_STATE.1", "$KV.FLOW_OWNERS.vm-1", "$KV.FLOW_CHECKPOINT.router", "$JS.API.STREAM.PURGE.WORK", "$JS.API.STREAM.DELETE.KV_FLOW_COMMANDS",
			"$JS.API.STREAM.MSG.GET.KV_FLOW_OWNERS", "$JS.API.CONSUMER.CREATE.KV_FLOW_OWNERS.x",
		},
		pipeline.RoleAll: {"$JS.API.STREAM.DELETE.ONE", "$JS.API.STREAM.PURGE.FLOW", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.ACCOUNT.PURGE.FLOWJET", "other"},
		pipeline.RoleReader: {
			"one.0.vm.1.ACTIVE.RUNNING", "flow.work.1", "flow.event.1.service.DONE", "flow.dlq.worker", "$KV.FLOW_STATE.1", "$JS.API.STREAM.PURGE.ONE",
			"$JS.API.STREAM.DELETE.ONE", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.MSG.DELETE.ONE",
			"$JS.API.CONSUMER.CREATE.FLOW.x", "$JS.API.CONSUMER.DURABLE.CREATE.FLOW.x", "$JS.API.CONSUMER.CREATE.KV_FLOW_STATE.x.$KV.FLOW_STATE.1",
			"$JS.API.CONSUMER.MSG.NEXT.FLOW.x", "$JS.API.STREAM.SNAPSHOT.FLOW", "$JS.API.CONSUMER.DELETE.FLOW.x",
		},
		pipeline.RoleOperator: {"other", "$SYS.REQ.SERVER.PING"},
	}
	for role, subjects := range denied {
		conn, failed := s.connect(role)
		for _, subject := range subjects {
			must(t, conn.Publish(subject, []byte("{}")))
			must(t, conn.Flush())
			expectViolation(t, role, "publish to "+subject, failed)
		}
		other := pipeline.RoleAPI
		if role == other {
			other = pipeline.RoleWorker
		}
		for _, subject := range []string{">", "_INBOX.>", other.InboxPrefix() + ".>"} {
			switch role {
			case pipeline.RoleOperator:
				subject = ">" // as an administrator he may hear every answer
			case pipeline.RoleAll:
				subject = pipeline.RoleBridge.InboxPrefix() + ".>"
			}
			_, err := conn.SubscribeSync(subject)
			must(t, err)
			must(t, conn.Flush())
			expectViolation(t, role, "subscribe to "+subject, failed)
		}
	}
}

// Servers hold back what they deliver until the reader has confirmed what came before
// (flow control); a reader that may not confirm comes to no end.
func TestARoleReadsMoreThanIsDeliveredAtOnce(t *testing.T) {
	s := newSecured(t)
	s.provision()
	conn, _ := s.connect(pipeline.RoleOperator)
	js, err := jetstream.New(conn)
	must(t, err)
	filler := bytes.Repeat([]byte(" "), 256<<10)
	const records = 200
	for id := range records {
		_, err := js.PublishAsync(fmt.Sprintf("$KV.%s.%d", pipeline.BucketState, id), append(filler, "{}"...))
		must(t, err)
	}
	<-js.PublishAsyncComplete()

	for _, role := range []pipeline.Role{pipeline.RoleWorker, pipeline.RoleAPI, pipeline.RoleOperator} {
		config, err := ReadConfig("", flagsOf(t, s.as(role)...))
		must(t, err)
		var denied testlog.Log
		pipe, err := config.Open(t.Context(), pipeline.Config{Role: role, Logger: denied.Logger()})
		must(t, err)
		t.Cleanup(pipe.Close)
		visited := 0
		err = work.NewRecords(pipe).EachRecord(t.Context(), func(int, pipeline.Record) { visited++ })
		if err != nil || visited != records {
			t.Errorf("%s read %d records: %v", role, visited, err)
		}
		if said := denied.String(); strings.Contains(said, "iolation") {
			t.Errorf("%s was denied: %s", role, said)
		}
	}
}

func expectViolation(t *testing.T, role pipeline.Role, what string, failed <-chan error) {
	t.Helper()
	limit := time.NewTimer(poll.Limit)
	defer limit.Stop()
	select {
	case err := <-failed:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s, %s: %v", role, what, err)
		}
	case <-limit.C:
		t.Fatalf("%s may %s", role, what)
	}
}

func TestAReaderSeesEverythingThatIsStored(t *testing.T) {
	s := newSecured(t)
	s.provision()
	conn, failed := s.connect(pipeline.RoleReader)
	js, err := jetstream.New(conn)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	names := map[string]bool{}
	for name := range js.StreamNames(ctx).Name() {
		names[name] = true
	}
	if !names[pipeline.StreamONE] || !names[pipeline.StreamOf(pipeline.BucketState)] {
		t.Errorf("the reader sees %v", names)
	}
	for name := range names {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatalf("look up %s: %v", name, err)
		}
		if _, err := stream.GetMsg(ctx, 1); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("read %s: %v", name, err)
		}
	}
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
}

func TestStrangersAndTheUnpreparedAreTurnedAway(t *testing.T) {
	s := newSecured(t)
	if _, err := nats.Connect(s.server.server.URL(), nats.RootCAs(s.file("ca.pem")), nats.Timeout(poll.Limit)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a key: %v", err)
	}
	seed, err := nats.NkeyOptionFromSeed(s.file("reader.nk"))
	must(t, err)
	if _, err := nats.Connect(s.server.server.URL(), seed); err == nil {
		t.Error("a client that does not know who signed the certificate is connected")
	}
	config, err := ReadConfig("", flagsOf(t, s.as(pipeline.RoleBridge)...))
	must(t, err)
	opening, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = config.Open(opening, pipeline.Config{Role: pipeline.RoleBridge, Bound: true})
	if !errors.Is(err, pipeline.ErrNotProvisioned) {
		t.Errorf("without streams: %v", err)
	}
}

// TestKeysAreKept and are nobody else's to read.
func TestKeysAreKept(t *testing.T) {
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	before, err := os.ReadFile(filepath.Join(folder, "bridge.nk"))
	must(t, err)
	accounts, err := os.ReadFile(filepath.Join(folder, AccountsFile))
	must(t, err)
	must(t, MakeKeys(folder))
	after, err := os.ReadFile(filepath.Join(folder, "bridge.nk"))
	must(t, err)
	again, err := os.ReadFile(filepath.Join(folder, AccountsFile))
	must(t, err)
	if !bytes.Equal(before, after) || !bytes.Equal(accounts, again) {
		t.Error("making keys again changes them")
	}
	info, err := os.Stat(filepath.Join(folder, "bridge.nk"))
	must(t, err)
	servers, err := os.Stat(filepath.Join(folder, ClusterFile))
	must(t, err)
	if servers.Mode().Perm() != 0o600 {
		t.Errorf("others can read what servers tell each other: %s", servers.Mode())
	}
	if info.Mode().Perm() != 0o600 || bytes.Contains(accounts, bytes.TrimSpace(before)) {
		t.Errorf("others can read a seed: %s", info.Mode())
	}
	must(t, os.WriteFile(filepath.Join(folder, "api.nk"), []byte("garbage"), 0o600))
	if err := MakeKeys(folder); err == nil || !strings.Contains(err.Error(), "api.nk: it does not contain a seed") {
		t.Error(err)
	}
}

// makeCertificate makes an authority, ca.pem, and a server's certificate that it
// has signed, server.pem and server.key.
func makeCertificate(t *testing.T, folder string) {
	t.Helper()
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	must(t, err)
	writePEM(t, filepath.Join(folder, "ca.pem"), "CERTIFICATE", signed)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err = x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, authorityKey)
	must(t, err)
	writePEM(t, filepath.Join(folder, "server.pem"), "CERTIFICATE", signed)
	der, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	writePEM(t, filepath.Join(folder, "server.key"), "EC PRIVATE KEY", der)
}

func writePEM(t *testing.T, path, kind string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
}
