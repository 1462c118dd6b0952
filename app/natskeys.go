package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/flowjet/flowjet/pipeline"
)

// The account that everything of Flowjet is in, that of those who only read, and the
// server's own.
const (
	account       = "FLOWJET"
	readerAccount = "READER"
	systemAccount = "SYS"
	systemUser    = "system"
	// AccountsFile is what MakeKeys writes for NATS servers to include.
	AccountsFile = "accounts.conf"
	// ClusterFile is the same with a password by which the servers of a cluster know each
	// other: what comes from another server is in whatever account it says. With TLS
	// between the servers their certificates do that.
	ClusterFile = "cluster.conf"
)

// The modes of secrets: those of parts may be read by the folder's group where
// the folder gives it to its files, as the packages' does with the group flowjet.
const (
	ownSecret  os.FileMode = 0o600
	partSecret os.FileMode = 0o640
)

// MakeKeys makes a user of NATS for each role: a seed in the folder, <role>.nk,
// that nobody else can read, and accounts.conf for the servers, with the
// public keys and what each role may do, and cluster.conf with a password besides. Seeds and
// a password that are there are kept, so that it can be run again after an upgrade.
func MakeKeys(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of NATS keys: %w: choose another with --out", err)
	}
	public := map[string]string{}
	for _, name := range append(roleNames(), systemUser) {
		key, err := seedIn(filepath.Join(folder, name+".nk"), modeOf(folder, name))
		if err != nil {
			return err
		}
		public[name] = key
	}
	path := filepath.Join(folder, AccountsFile)
	if err := os.WriteFile(path, []byte(Accounts(public)), 0o644); err != nil {
		return fmt.Errorf("write the NATS accounts: %w", err)
	}
	return makeClusterFile(folder)
}

// makeClusterFile writes cluster.conf if it is missing.
func makeClusterFile(folder string) error {
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

// modeOf is that of a role's seed.
func modeOf(folder, name string) os.FileMode {
	info, err := os.Stat(folder)
	isPart := name != string(pipeline.RoleOperator) && name != string(pipeline.RoleReader) && name != systemUser
	if err == nil && info.Mode()&os.ModeSetgid != 0 && isPart {
		return partSecret
	}
	return ownSecret
}

func roleNames() []string {
	var names []string
	for _, role := range pipeline.Roles {
		names = append(names, string(role))
	}
	return names
}

// seedIn is the public key of the seed in a file, which is made if it is missing.
func seedIn(path string, mode os.FileMode) (string, error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return newSeed(path, mode)
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

func newSeed(path string, mode os.FileMode) (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("create a NATS key: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("create a NATS key: %w", err)
	}
	if err := writeWhole(path, append(seed, '\n'), mode); err != nil {
		return "", fmt.Errorf("store a NATS key: %w", err)
	}
	return pair.PublicKey()
}

// Accounts is the servers' configuration of users, by the public key of each
// role and of the user system, who sees how the servers are.
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

// shares are what Flowjet's account exports to those who only read, and they import. The
// answers to what they ask come to their own account, whatever subject they name for them.
func shares(allowed pipeline.Permissions) (exports, imports string) {
	var out, in strings.Builder
	for _, subject := range allowed.Publish {
		answers := ""
		if strings.Contains(subject, ".DIRECT.GET.") {
			answers = ", response_type: Stream" // it can ask for many messages
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
