package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/pipeline"
)

// NATS servers read the files that are made: every role is a user with the public half of its own seed, those who only read have an account of
// their own, and the servers of a cluster a password that no other cluster has.
func TestServersReadTheAccounts(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	must(t, MakeKeys(folder))
	must(t, MakeKeys(other))
	options, err := server.ProcessConfigFile(filepath.Join(folder, ClusterFile))
	must(t, err)
	accounts := map[string]string{} // by public key
	for _, user := range options.Nkeys {
		if accounts[user.Nkey] != "" {
			t.Errorf("two users have the key %s", user.Nkey)
		}
		accounts[user.Nkey] = user.Account.Name
	}
	want := map[string]string{systemUser: systemAccount}
	for _, role := range pipeline.Roles {
		want[string(role)] = account
	}
	want[string(pipeline.RoleReader)] = readerAccount
	if len(accounts) != len(want) || options.SystemAccount != systemAccount {
		t.Errorf("there are %d users, want %d; the system's account is %s", len(accounts), len(want), options.SystemAccount)
	}
	for name, in := range want {
		seed, err := os.ReadFile(filepath.Join(folder, name+".nk"))
		must(t, err)
		pair, err := nkeys.ParseDecoratedNKey(seed)
		must(t, err)
		public, err := pair.PublicKey()
		must(t, err)
		if accounts[public] != in {
			t.Errorf("%s is in the account %q, want %q", name, accounts[public], in)
		}
	}
	if options.Cluster.Username != "server" || len(options.Cluster.Password) < 20 {
		t.Errorf("the servers of a cluster know each other by %q and %d characters", options.Cluster.Username, len(options.Cluster.Password))
	}
	strange, err := server.ProcessConfigFile(filepath.Join(other, ClusterFile))
	must(t, err)
	if strange.Cluster.Password == options.Cluster.Password {
		t.Error("two clusters have one password")
	}
	text, err := os.ReadFile(filepath.Join(folder, AccountsFile))
	must(t, err)
	if strings.Contains(string(text), options.Cluster.Password) || strings.Contains(string(text), "\nSU") {
		t.Error("the file of accounts, which everybody may read, has a secret")
	}
}

// Seeds and the password that are there are kept, what is missing is made, and the accounts are written anew, as after an upgrade.
func TestKeysThatAreMissing(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(folder, name))
		must(t, err)
		return string(text)
	}
	bridge, worker, cluster := read("bridge.nk"), read("worker.nk"), read(ClusterFile)
	must(t, os.Remove(filepath.Join(folder, "worker.nk")))
	must(t, os.WriteFile(filepath.Join(folder, AccountsFile), []byte("half of it"), 0o644))
	must(t, MakeKeys(folder))
	if read("bridge.nk") != bridge || read("worker.nk") == worker || read(ClusterFile) != cluster {
		t.Error("a key that was there was made anew, or one that was missing was not")
	}
	if _, err := server.ProcessConfigFile(filepath.Join(folder, AccountsFile)); err != nil {
		t.Errorf("the accounts are not written anew: %v", err)
	}
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".new-") {
			t.Errorf("%s is left behind", entry.Name())
		}
	}
	below := filepath.Join(write(t, "file", "x"), "keys")
	if err := MakeKeys(below); err == nil || !strings.Contains(err.Error(), "choose another with --out") {
		t.Errorf("below a file: %v", err)
	}
	must(t, os.Remove(filepath.Join(folder, "api.nk")))
	must(t, os.Mkdir(filepath.Join(folder, "api.nk"), 0o700))
	if err := MakeKeys(folder); err == nil || !strings.Contains(err.Error(), "read the NATS key "+filepath.Join(folder, "api.nk")) {
		t.Errorf("a folder in the place of a seed: %v", err)
	}
}

// A file is there whole with its mode or not at all, and one that could not be written leaves nothing behind.
func TestFilesAreWrittenWhole(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "secret")
	must(t, os.WriteFile(path, []byte("old, and readable by all"), 0o644))
	must(t, writeWhole(path, []byte("new"), ownSecret))
	text, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if string(text) != "new" || info.Mode().Perm() != ownSecret {
		t.Errorf("it has %q and the mode %v", text, info.Mode())
	}
	taken := filepath.Join(folder, "taken")
	must(t, os.MkdirAll(filepath.Join(taken, "by a folder"), 0o700))
	if err := writeWhole(taken, []byte("new"), ownSecret); err == nil || !strings.Contains(err.Error(), "write "+taken) {
		t.Errorf("in the place of a folder: %v", err)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 2 {
		t.Errorf("something is left behind: %v, %v", entries, err)
	}
	if err := copyFile(filepath.Join(folder, "nothing"), filepath.Join(folder, "copy"), ownSecret); err == nil {
		t.Error("nothing is copied")
	}
}

// certificateOf reads a certificate.
func certificateOf(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	block, _ := pem.Decode(text)
	parsed, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return parsed
}

// A host's certificate is good for what its server does: for clients by the host's name and on the host itself, and to the other servers.
func TestCertificatesOfHosts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	must(t, MakeHosts(folder, []string{"fe-1", "10.0.0.2", "2001:db8::3"}))
	authority := certificateOf(t, filepath.Join(folder, authorityFile))
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	if !authority.IsCA || !authority.MaxPathLenZero || authority.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("the authority may do %v", authority.KeyUsage)
	}
	for host, strange := range map[string]string{"fe-1": "fe-2", "10.0.0.2": "10.0.0.3", "2001:db8::3": "2001:db8::4"} {
		own := certificateOf(t, filepath.Join(folder, "hosts", host, "server.pem"))
		for _, name := range []string{host, "localhost", "127.0.0.1", "::1"} {
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
				if _, err := own.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
					t.Errorf("%s is not known as %s: %v", host, name, err)
				}
			}
		}
		if _, err := own.Verify(x509.VerifyOptions{Roots: roots, DNSName: strange}); err == nil {
			t.Errorf("%s is known as %s", host, strange)
		}
		for days, good := range map[int]bool{-1: false, 0: true, 3*365 - 1: true, 3*365 + 1: false} {
			at := time.Now().AddDate(0, 0, days)
			if _, err := own.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); (err == nil) != good {
				t.Errorf("in %d days %s is good: %t, want %t", days, host, err == nil, good)
			}
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(folder, "hosts", host, "server.pem"), filepath.Join(folder, "hosts", host, "server.key")); err != nil {
			t.Errorf("the key of %s is another's: %v", host, err)
		}
	}
	first := certificateOf(t, filepath.Join(folder, "hosts", "fe-1", "server.pem"))
	must(t, MakeHosts(folder, []string{"fe-1"}))
	renewed := certificateOf(t, filepath.Join(folder, "hosts", "fe-1", "server.pem"))
	if first.SerialNumber.Cmp(renewed.SerialNumber) == 0 || !certificateOf(t, filepath.Join(folder, authorityFile)).Equal(authority) {
		t.Error("a certificate is not renewed, or the authority is")
	}
}

// An authority of which one half is broken is refused with the file to remove, and never replaced in silence: the hosts would not know the new one.
func TestAnAuthorityThatIsBroken(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(certificate, key string) error{
		"no PEM":            func(certificate, _ string) error { return os.WriteFile(certificate, []byte("x"), 0o644) },
		"half a PEM":        func(certificate, _ string) error { return os.Truncate(certificate, 100) },
		"an empty key":      func(_, key string) error { return os.Truncate(key, 0) },
		"another's content": func(certificate, key string) error { return copyFile(key, certificate, 0o644) },
		"a certificate for": func(certificate, key string) error { return copyFile(certificate, key, 0o600) },
	} {
		folder := t.TempDir()
		must(t, MakeKeys(folder))
		must(t, MakeHosts(folder, []string{"fe-1"}))
		must(t, harm(filepath.Join(folder, authorityFile), filepath.Join(folder, authorityKeyFile)))
		before, err := os.ReadFile(filepath.Join(folder, authorityFile))
		must(t, err)
		err = MakeHosts(folder, []string{"fe-2"})
		if err == nil || !strings.Contains(err.Error(), "remove it and ca.pem to create a new one") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.ReadFile(filepath.Join(folder, authorityFile))
		if err != nil || string(before) != string(after) {
			t.Errorf("%s: the authority was replaced (%v)", name, err)
		}
		if _, err := os.Stat(filepath.Join(folder, "hosts", "fe-2")); err == nil {
			t.Errorf("%s: a host gets files", name)
		}
	}
	folder := t.TempDir() // without keys
	if err := MakeHosts(folder, []string{"fe-1"}); err == nil || !strings.Contains(err.Error(), "create the files of host fe-1: ") {
		t.Errorf("without keys: %v", err)
	}
}

// A folder into which files cannot be written ends with an error that names the file, and leaves no half of one.
func TestKeysThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		blocked string // by a folder with something in it
		want    string
	}{
		"a seed":                      {"bridge.nk", "read the NATS key "},
		"the accounts":                {AccountsFile, "write the NATS accounts: "},
		"the authority":               {authorityFile, "read the authority's certificate: "},
		"the authority's key":         {authorityKeyFile, "write "},
		"a host's key":                {"hosts/fe-1/server.key", "create the files of host fe-1: write "},
		"a host's certificate":        {"hosts/fe-1/server.pem", "create the files of host fe-1: write "},
		"a host's copy of a seed":     {"hosts/fe-1/worker.nk", "create the files of host fe-1: write "},
		"a host's copy of the others": {"hosts/fe-1/" + authorityFile, "create the files of host fe-1: write "},
	} {
		folder := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(folder, test.blocked, "x"), 0o700))
		err := MakeKeys(folder)
		if err == nil {
			err = MakeHosts(folder, []string{"fe-1"})
		}
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || !strings.Contains(err.Error(), filepath.Join(folder, test.blocked)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		must(t, filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
			if strings.HasPrefix(entry.Name(), ".new-") {
				t.Errorf("%s: %s is left", name, path)
			}
			return err
		}))
	}
	file := write(t, "file", "x")
	if err := MakeKeys(file); err == nil || !strings.Contains(err.Error(), "choose another with --out") {
		t.Errorf("a folder that is a file: %v", err)
	}
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	must(t, os.WriteFile(filepath.Join(folder, "hosts"), nil, 0o600))
	if err := MakeHosts(folder, []string{"fe-1"}); err == nil || !strings.HasPrefix(err.Error(), "create the files of host fe-1: ") {
		t.Errorf("hosts is a file: %v", err)
	}
}

// The context has the `nats` command reach the servers as an operator, whatever folder it is run in.
func TestTheContextOfTheNATSCommand(t *testing.T) {
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	t.Chdir(filepath.Dir(folder))
	for name, test := range map[string]struct {
		hosts   []string
		url, ca string
	}{
		"one server":    {nil, "nats://127.0.0.1:4222", ""},
		"three servers": {[]string{"fe-1", "fe-2", "fe-3"}, "tls://fe-1:4222,tls://fe-2:4222,tls://fe-3:4222", filepath.Join(folder, authorityFile)},
	} {
		_ = os.Remove(filepath.Join(folder, ContextFile))   // the other one's would be kept
		for _, hosts := range [][]string{test.hosts, nil} { // without hosts, as after an upgrade, those of before are kept
			must(t, MakeContext(filepath.Base(folder), hosts))
		}
		text, err := os.ReadFile(filepath.Join(folder, ContextFile))
		must(t, err)
		var context map[string]string
		must(t, json.Unmarshal(text, &context))
		if context["url"] != test.url || context["ca"] != test.ca || context["nkey"] != filepath.Join(folder, "operator.nk") || context["inbox_prefix"] != pipeline.RoleOperator.InboxPrefix() {
			t.Errorf("%s: %s", name, text)
		}
	}
	if err := MakeContext(filepath.Join(folder, "nothing"), nil); err == nil || !strings.Contains(err.Error(), "write the context of the nats command") {
		t.Errorf("in no folder: %v", err)
	}
}

// Three servers on hosts of their own, with the files that `flowjet nats keys --hosts` makes and TLS between them, are one cluster without its name
// having been set, and keep a message on each.
func TestServersOfHostsAreOneCluster(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	must(t, MakeHosts(folder, hosts))
	routes := ports.Free(t, 3)
	var all []string
	for i, route := range routes {
		_, port, err := net.SplitHostPort(route)
		must(t, err)
		routes[i] = net.JoinHostPort(hosts[i], port)
		all = append(all, "nats://"+routes[i])
	}
	var first *App
	for i, host := range hosts {
		own := filepath.Join(folder, "hosts", host)
		conf := filepath.Join(own, "server.conf")
		must(t, os.WriteFile(conf, []byte("include "+AccountsFile+"\ntls { cert_file: \""+own+"/server.pem\", key_file: \""+own+"/server.key\", timeout: 30 }\n"+
			"cluster { tls { cert_file: \""+own+"/server.pem\", key_file: \""+own+"/server.key\", ca_file: \""+own+"/ca.pem\", verify: true, timeout: 30 } }\n"), 0o600))
		a, err := starts(t, t.Context(), []Part{PartNATS}, "--data-dir", t.TempDir(), "--nats-name", host, "--nats-listen", host+":0", "--nats-server-file", conf,
			"--nats-cluster-listen", routes[i], "--nats-routes", strings.Join(all, ","))
		must(t, err)
		if first == nil {
			first = a
		}
	}
	poll.Until(t, "the cluster to have a leader", first.server.Ready)
	config := configOf(t, "--nats-url", first.server.URL(), "--nats-ca-file", filepath.Join(folder, authorityFile), "--nats-nkey-file", filepath.Join(folder, "operator.nk"), "--nats-replicas", "3")
	pipe, err := config.Open(t.Context(), pipeline.Config{Role: pipeline.RoleOperator})
	must(t, err)
	t.Cleanup(pipe.Close)
	stream, err := pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
	must(t, err)
	cluster := stream.CachedInfo().Cluster
	if cluster == nil || cluster.Name != "flowjet" || len(cluster.Replicas) != 2 {
		t.Errorf("the stream is on %+v", cluster)
	}
	if conn, err := nats.Connect(first.server.URL(), nats.RootCAs(filepath.Join(folder, authorityFile))); err == nil {
		conn.Close()
		t.Error("the cluster lets in who has no key")
	}
}

// Reaching NATS beforehand tells a server that is away from one that refuses, in the time that there is.
func TestReachingNATS(t *testing.T) {
	t.Parallel()
	server, config := startNATS(t, t.TempDir())
	config.NATS.URL = server.server.URL()
	must(t, config.Reach(t.Context()))
	stranger := t.TempDir()
	must(t, MakeKeys(stranger))
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	must(t, err)
	t.Cleanup(func() { silent.Close() })
	for name, test := range map[string]struct{ url, key, want string }{
		"nobody":          {"nats://" + ports.Free(t, 1)[0], "", "connect to NATS at nats://127.0.0.1:"},
		"another's key":   {config.NATS.URL, filepath.Join(stranger, "{role}.nk"), "Authorization Violation"},
		"no key":          {config.NATS.URL, "/nowhere/operator.nk", "/nowhere/operator.nk"},
		"one that is mum": {"nats://" + silent.Addr().String(), "", "connect to NATS at nats://127.0.0.1:"},
	} {
		other := config
		other.NATS.URL, other.NATS.NkeyFile = test.url, test.key
		if err := other.Reach(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, missing, err := config.Attach(t.Context(), pipeline.Config{Role: pipeline.RoleOperator}); err != nil || len(missing) == 0 {
		t.Errorf("on a server that nobody has provisioned nothing is missing: %v, %v", missing, err)
	}
	if _, err := (Config{DataDir: t.TempDir()}).localKey(pipeline.RoleOperator); err != nil {
		t.Errorf("a folder without keys: %v", err)
	}
	key, err := config.localKey(pipeline.RoleOperator)
	if err != nil || key != filepath.Join(config.DataDir, "nats", "operator.nk") {
		t.Errorf("the operator's key is %s, %v", key, err)
	}
}
