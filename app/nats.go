package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// Open connects to NATS as the configuration says. What changes in the files of
// credentials and certificates is used from the next connection on.
func (c Config) Open(ctx context.Context, config pipeline.Config) (*pipeline.Pipeline, error) {
	options, err := c.natsOptions(config.Role)
	if err != nil {
		return nil, err
	}
	config.Options = append(options, config.Options...)
	config.Replicas, config.Zone = c.NATS.Replicas, c.Zone
	if config.URL == "" {
		config.URL = c.NATS.URL
	}
	return pipeline.Open(ctx, config)
}

// roleMark stands for the role in the names of key and credentials files, so that
// one configuration serves every part and the operator.
const roleMark = "{role}"

// natsOptions are how NATS knows a process of the role: by what is configured, else by the
// role's key in the data folder, if there is one.
func (c Config) natsOptions(role pipeline.Role) ([]nats.Option, error) {
	file := strings.ReplaceAll(c.NATS.NkeyFile, roleMark, string(role))
	if file == "" {
		key, err := c.localKey(role)
		if err != nil {
			return nil, err
		}
		file = key
	}
	var options []nats.Option
	if c.NATS.CAFile != "" {
		options = append(options, nats.RootCAs(c.NATS.CAFile))
	}
	if c.NATS.CertificateFile != "" {
		options = append(options, nats.ClientCert(c.NATS.CertificateFile, c.NATS.CertificateFile))
	}
	if file == "" {
		return options, nil
	}
	user, err := userOption(file)
	if err != nil {
		return nil, fmt.Errorf("read the key for NATS %s: %w: it must have a line that begins with SU, as `flowjet nats keys` writes it, or credentials with a JWT and a seed", file, err)
	}
	return append(options, user), nil
}

// userOption is who a process is to NATS: by credentials, or by the seed of an nkey.
func userOption(file string) (nats.Option, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(file), nil
	}
	return nats.NkeyOptionFromSeed(file)
}

// Reach tries whether the NATS servers of the configuration let this process in.
func (c Config) Reach(ctx context.Context) error {
	options, err := c.natsOptions(pipeline.RoleOperator)
	if err != nil {
		return err
	}
	wait := time.Second
	if deadline, set := ctx.Deadline(); set {
		wait = time.Until(deadline)
	}
	conn, err := nats.Connect(c.NATS.URL, append(options, nats.Timeout(wait))...)
	if err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", c.NATS.URL, err)
	}
	conn.Close()
	return nil
}

// Attach connects to NATS as the configuration says, to look: nothing is made or
// changed. Missing names streams and buckets that are not there.
func (c Config) Attach(ctx context.Context, config pipeline.Config) (pipe *pipeline.Pipeline, missing []string, err error) {
	options, err := c.natsOptions(config.Role)
	if err != nil {
		return nil, nil, err
	}
	config.Options, config.Zone = append(options, config.Options...), c.Zone
	config.URL = c.NATS.URL
	if config.URL == "" {
		config.URL = "nats://" + c.NATS.Listen
	}
	return pipeline.Attach(ctx, config)
}

// keysFolder is where a process with an embedded NATS server keeps the keys of those who
// may connect to it.
func (c Config) keysFolder() string { return filepath.Join(c.DataDir, "nats") }

// closesNATS reports whether the embedded server is closed by keys of the data folder: where
// no configuration file says who may do what. The servers of a cluster need one, for they
// have to know the same keys.
func (c Config) closesNATS() bool { return c.NATS.ServerFile == "" }

// serverFile is the embedded server's configuration file. Without one that is configured the
// keys are made at the first start, and the file that lets their owners in.
func (c Config) serverFile() (string, error) {
	if !c.closesNATS() {
		return c.NATS.ServerFile, nil
	}
	if err := os.MkdirAll(c.keysFolder(), 0o700); err != nil {
		return "", fmt.Errorf("make the folder of NATS keys: %w: choose another data folder with --data-dir", err)
	}
	if err := MakeKeys(c.keysFolder()); err != nil {
		return "", err
	}
	if err := moveToAccount(c.streamsFolder()); err != nil {
		return "", err
	}
	return filepath.Join(c.keysFolder(), AccountsFile), nil
}

// streamsFolder is the embedded server's.
func (c Config) streamsFolder() string { return filepath.Join(c.DataDir, "jetstream") }

// moveToAccount gives what a server without accounts has stored to Flowjet's account.
func moveToAccount(store string) error {
	const global = "$G"
	from, to := filepath.Join(store, "jetstream", global), filepath.Join(store, "jetstream", account)
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		return nil //nolint:nilerr // what is there is the account's, and what cannot be read the server reports
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("move the streams in %s to the account %s: %w", from, account, err)
	}
	return nil
}

// localKey is the file of a role's key in the data folder, empty if there is none.
func (c Config) localKey(role pipeline.Role) (string, error) {
	path := filepath.Join(c.keysFolder(), string(role)+".nk")
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the NATS key: %w: run the command as the owner of the data folder, or set another key with --nats-nkey-file", err)
	}
	return path, file.Close()
}

// OperatorKey is the file of the operator's key in a data folder, empty if there is none.
func OperatorKey(dataDir string) (string, error) {
	return Config{DataDir: dataDir}.localKey(pipeline.RoleOperator)
}
