package app

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/flowjet/flowjet/pipeline"
)

// The accounts of everything of Flowjet, of clients that only read, and of the server itself.
const (
	account       = "FLOWJET"
	readerAccount = "READER"
	systemAccount = "SYS"
	systemUser    = "system"
	AccountsFile  = "accounts.conf" // written by MakeKeys for NATS servers to include
	// ClusterFile is the same with a password between the servers of a cluster: a message from another server is in
	// whatever account that server claims. With TLS between the servers their certificates do that.
	ClusterFile = "cluster.conf"
)

// The modes of secrets: those of parts are readable for the folder's group if the folder passes its group on to its files,
// as the packages' folder does with the group flowjet.
const (
	ownSecret  os.FileMode = 0o600
	partSecret os.FileMode = 0o640
)

// MakeKeys makes a user of NATS for each role: a seed in the folder, <role>.nk, that nobody else can read, and
// accounts.conf for the servers, with the public keys and each role's permissions, and cluster.conf with a password
// besides. Existing seeds and passwords are kept, so that it can run again after an upgrade.
func MakeKeys(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of NATS keys: %w: choose another with --out", err)
	}
	names := []string{systemUser}
	for _, role := range pipeline.Roles {
		names = append(names, string(role))
	}
	public := map[string]string{}
	for _, name := range names {
		key, err := seedIn(filepath.Join(folder, name+".nk"), modeOf(folder, name))
		if err != nil {
			return err
		}
		public[name] = key
	}
	if err := os.WriteFile(filepath.Join(folder, AccountsFile), []byte(Accounts(public)), 0o644); err != nil {
		return fmt.Errorf("write the NATS accounts: %w", err)
	}
	path := filepath.Join(folder, ClusterFile)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := fmt.Sprintf("# Created by `flowjet nats keys`: %s, and the password by which the servers of a cluster authenticate to each other.\ninclude %s\n\n"+
		"cluster { authorization { user: server, password: %q, timeout: 5 } }\n", AccountsFile, AccountsFile, rand.Text())
	if err := writeWhole(path, []byte(text), modeOf(folder, "server")); err != nil {
		return fmt.Errorf("store the password of the NATS servers: %w", err)
	}
	return nil
}

func modeOf(folder, name string) os.FileMode {
	info, err := os.Stat(folder)
	isPart := name != string(pipeline.RoleOperator) && name != string(pipeline.RoleReader) && name != systemUser
	if err == nil && info.Mode()&os.ModeSetgid != 0 && isPart {
		return partSecret
	}
	return ownSecret
}

// seedIn returns the public key of the seed in a file, which is made if it is missing.
func seedIn(path string, mode os.FileMode) (string, error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return "", fmt.Errorf("create a NATS key: %w", err)
		}
		defer pair.Wipe()
		if seed, err = pair.Seed(); err != nil {
			return "", fmt.Errorf("create a NATS key: %w", err)
		}
		if err := writeWhole(path, append(seed, '\n'), mode); err != nil {
			return "", fmt.Errorf("store a NATS key: %w", err)
		}
		return pair.PublicKey()
	}
	if err != nil {
		return "", fmt.Errorf("read the NATS key %s: %w", path, err)
	}
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return "", fmt.Errorf("read the NATS key %s: it does not contain a seed: remove it to create a new one", path)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// Accounts returns the servers' configuration of users, by the public key of each role and of the user system, which reads
// the servers' status.
func Accounts(public map[string]string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "# Created by `flowjet nats keys`: the users of Flowjet and their permissions. Run it again after\n"+
		"# an upgrade, and then reload the servers. docs/security.md explains each role.\n\naccounts {\n  %s {\n    jetstream: enabled\n    users: [\n", account)
	for _, role := range pipeline.Roles {
		if role != pipeline.RoleReader {
			writeUser(&text, role, public)
		}
	}
	exports, imports := shares(pipeline.RoleReader.Permissions())
	fmt.Fprintf(&text, "    ]\n    exports: [\n%s    ]\n  }\n  %s {\n    users: [\n", exports, readerAccount)
	writeUser(&text, pipeline.RoleReader, public)
	fmt.Fprintf(&text, "    ]\n    imports: [\n%s    ]\n  }\n", imports)
	fmt.Fprintf(&text, "  %s { users: [ { nkey: %s } ] }\n}\nsystem_account: %s\n", systemAccount, public[systemUser], systemAccount)
	return text.String()
}

func writeUser(text *strings.Builder, role pipeline.Role, public map[string]string) {
	allowed := role.Permissions()
	fmt.Fprintf(text, "      { # %s\n        nkey: %s\n        permissions: {\n", role, public[string(role)])
	fmt.Fprintf(text, "          publish: { allow: [\n%s          ] }\n", list(allowed.Publish))
	fmt.Fprintf(text, "          subscribe: { allow: [\n%s          ] }\n        }\n      }\n", list(allowed.Subscribe))
}

// shares returns the exports of Flowjet's account to clients that only read, and their imports. Answers to their requests
// go to their own account, whatever reply subject they name.
func shares(allowed pipeline.Permissions) (exports, imports string) {
	var out, in strings.Builder
	for _, subject := range allowed.Publish {
		answers := ""
		if strings.Contains(subject, ".DIRECT.GET.") {
			answers = ", response_type: Stream" // a request can ask for many messages
		}
		fmt.Fprintf(&out, "      { service: %q, accounts: [ %s ]%s }\n", subject, readerAccount, answers)
		fmt.Fprintf(&in, "      { service: { account: %s, subject: %q } }\n", account, subject)
	}
	for _, subject := range allowed.Subscribe {
		if strings.HasPrefix(subject, pipeline.RoleReader.InboxPrefix()) {
			continue
		}
		fmt.Fprintf(&out, "      { stream: %q, accounts: [ %s ] }\n", subject, readerAccount)
		fmt.Fprintf(&in, "      { stream: { account: %s, subject: %q } }\n", account, subject)
	}
	return out.String(), in.String()
}

func list(subjects []string) string {
	var text strings.Builder
	for _, subject := range subjects {
		fmt.Fprintf(&text, "            %q\n", subject)
	}
	return text.String()
}

// How long certificates are valid, from an hour before they are made: clocks of hosts may differ.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 3 * 365 * 24 * time.Hour
	clockDoubt      = time.Hour
)

// hostName matches a host's name or address, and no path out of a folder.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)

// CheckHosts returns an error that lists the names which are no host names.
func CheckHosts(hosts []string) error {
	for _, host := range hosts {
		if !hostName.MatchString(host) {
			return fmt.Errorf("%q is not a host name: use names by which the other hosts can reach them, such as front-end-1", host)
		}
	}
	return nil
}

// MakeHosts makes, in the folder that MakeKeys has filled, a certificate authority (ca.pem, ca.key) and below hosts/ a
// folder for each host with its files: a certificate for its NATS server, the authority's, the accounts, and the seeds of
// the parts that run on a front-end. An existing authority is kept, and certificates are made anew.
func MakeHosts(folder string, hosts []string) error {
	if err := CheckHosts(hosts); err != nil {
		return err
	}
	authority, err := authorityIn(folder)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if err := authority.equip(folder, host); err != nil {
			return fmt.Errorf("create the files of host %s: %w", host, err)
		}
	}
	return nil
}

type authority struct {
	certificate *x509.Certificate
	key         crypto.PrivateKey // nil while it is made
}

const (
	authorityFile    = "ca.pem"
	authorityKeyFile = "ca.key"
)

func authorityIn(folder string) (authority, error) {
	certificate, err := os.ReadFile(filepath.Join(folder, authorityFile))
	if errors.Is(err, os.ErrNotExist) {
		return newAuthority(folder)
	}
	if err != nil {
		return authority{}, fmt.Errorf("read the authority's certificate: %w", err)
	}
	path := filepath.Join(folder, authorityKeyFile)
	key, err := os.ReadFile(path)
	if err != nil {
		return authority{}, fmt.Errorf("read the key of the authority in %s: %w: create certificates on the host that has it, or with your own authority", authorityFile, err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return authority{}, fmt.Errorf("read the authority's key %s: %w: remove it and %s to create a new one", path, err, authorityFile)
	}
	return authority{pair.Leaf, pair.PrivateKey}, nil
}

func newAuthority(folder string) (authority, error) {
	made := authority{certificate: &x509.Certificate{
		Subject: pkix.Name{CommonName: "Flowjet's NATS servers"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	key, signed, err := made.sign(made.certificate, authorityLife)
	if err != nil {
		return authority{}, fmt.Errorf("create the authority's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		return authority{}, fmt.Errorf("create the authority's certificate: %w", err)
	}
	// The key is written first: an authority without its key is useless.
	if err := writeKey(filepath.Join(folder, authorityKeyFile), key, 0o600); err != nil {
		return authority{}, err
	}
	return authority{certificate, key}, writePEMFile(filepath.Join(folder, authorityFile), "CERTIFICATE", signed, 0o644)
}

// sign makes a key and a certificate for it. An authority without a key signs itself.
func (a authority) sign(asked *x509.Certificate, life time.Duration) (key *ecdsa.PrivateKey, signed []byte, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	asked.SerialNumber, _ = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand never fails
	asked.NotBefore, asked.NotAfter = time.Now().Add(-clockDoubt), time.Now().Add(life)
	signed, err = x509.CreateCertificate(rand.Reader, asked, a.certificate, &key.PublicKey, cmp.Or[crypto.PrivateKey](a.key, key))
	return key, signed, err
}

// equip makes the folder of a host, with a certificate that identifies its server to parts and to the other servers, by its
// own name and, from the host itself, as localhost.
func (a authority) equip(folder, host string) error {
	theirs := filepath.Join(folder, "hosts", host)
	if err := os.MkdirAll(theirs, 0o700); err != nil {
		return err
	}
	asked := &x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		asked.IPAddresses = append(asked.IPAddresses, ip)
	} else {
		asked.DNSNames = slices.Insert(asked.DNSNames, 0, host)
	}
	key, signed, err := a.sign(asked, certificateLife)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(theirs, "server.key"), key, partSecret); err != nil {
		return err
	}
	if err := writePEMFile(filepath.Join(theirs, "server.pem"), "CERTIFICATE", signed, 0o644); err != nil {
		return err
	}
	copies := map[string]os.FileMode{AccountsFile: 0o644, authorityFile: 0o644}
	for _, role := range []pipeline.Role{pipeline.RoleBridge, pipeline.RoleWorker, pipeline.RoleAPI} {
		copies[string(role)+".nk"] = partSecret
	}
	for name, mode := range copies {
		if err := copyFile(filepath.Join(folder, name), filepath.Join(theirs, name), mode); err != nil {
			return err
		}
	}
	return nil
}

func writeKey(path string, key *ecdsa.PrivateKey, mode os.FileMode) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the key %s: %w", path, err)
	}
	return writePEMFile(path, "EC PRIVATE KEY", der, mode)
}

func writePEMFile(path, kind string, content []byte, mode os.FileMode) error {
	return writeWhole(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), mode)
}

func copyFile(from, to string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeWhole(to, text, mode)
}

// writeWhole writes a file atomically and with its mode.
func writeWhole(path string, text []byte, mode os.FileMode) error {
	made, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = made.Write(text)
	err = errors.Join(err, made.Chmod(mode), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), path)
	}
	if err != nil {
		_ = os.Remove(made.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
