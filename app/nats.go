package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// Open connects to NATS as configured. Changes of the files with credentials and certificates apply from the next
// connection on.
func (c Config) Open(ctx context.Context, config pipeline.Config) (*pipeline.Pipeline, error) {
	options, err := c.natsOptions(config.Role)
	if err != nil {
		return nil, err
	}
	config.Options = append(options, config.Options...)
	config.Replicas, config.Zone = c.NATS.Replicas, c.Zone
	config.URL = cmp.Or(config.URL, c.NATS.URL)
	return pipeline.Open(ctx, config)
}

// withAdvice adds advice to an error of Open, unless it has its own.
func withAdvice(err error, advice string) error {
	if errors.Is(err, pipeline.ErrOtherRole) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// roleMark is replaced by the role in the names of key and credentials files, so that one configuration serves every part
// and the operator.
const roleMark = "{role}"

// natsOptions returns the credentials with which a process of the role connects to NATS: the configured ones, else the
// role's key in the data folder, if there is one.
func (c Config) natsOptions(role pipeline.Role) ([]nats.Option, error) {
	file := strings.ReplaceAll(c.NATS.NkeyFile, roleMark, string(role))
	if file == "" {
		var err error
		if file, err = c.localKey(role); err != nil {
			return nil, err
		}
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
	text, err := os.ReadFile(file)
	if err == nil && bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		return append(options, nats.UserCredentials(file)), nil
	}
	var user nats.Option
	if err == nil {
		user, err = nats.NkeyOptionFromSeed(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key for NATS %s: %w: it must have a line that begins with SU, as `flowjet nats keys` writes it, or credentials with a JWT and a seed", file, err)
	}
	return append(options, user), nil
}

// Reach checks whether the configured NATS servers accept this process.
func (c Config) Reach(ctx context.Context) error {
	pipe, _, err := c.Attach(ctx, pipeline.Config{Role: pipeline.RoleOperator, Name: "flowjet"})
	if err == nil {
		pipe.Close()
	}
	return err
}

// Attach connects to NATS as configured, for reading: nothing is made or changed. missing names streams and buckets that do
// not exist.
func (c Config) Attach(ctx context.Context, config pipeline.Config) (pipe *pipeline.Pipeline, missing []string, err error) {
	options, err := c.natsOptions(config.Role)
	if err != nil {
		return nil, nil, err
	}
	config.Options, config.Zone = append(options, config.Options...), c.Zone
	config.URL = cmp.Or(c.NATS.URL, "nats://"+c.NATS.Listen)
	return pipeline.Attach(ctx, config)
}

// keysFolder returns the folder where a process with an embedded NATS server keeps the keys of its users.
func (c Config) keysFolder() string { return filepath.Join(c.DataDir, "nats") }

// serverFile returns the embedded server's configuration file. Unless one is configured, the first start makes the keys and
// a file that accepts them. The servers of a cluster need a configured file, because all have to know the same keys.
func (c Config) serverFile() (string, error) {
	if c.NATS.ServerFile != "" {
		return c.NATS.ServerFile, nil
	}
	if err := os.MkdirAll(c.keysFolder(), 0o700); err != nil {
		return "", fmt.Errorf("make the folder of NATS keys: %w: choose another data folder with --data-dir", err)
	}
	if err := MakeKeys(c.keysFolder()); err != nil {
		return "", err
	}
	// Streams that a server stored without accounts become the account's. If the account has streams already nothing is
	// moved; the server reports a file that cannot be read.
	store := filepath.Join(c.streamsFolder(), "jetstream")
	from, to := filepath.Join(store, "$G"), filepath.Join(store, account)
	if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("move the streams in %s to the account %s: %w", from, account, err)
		}
	}
	return filepath.Join(c.keysFolder(), AccountsFile), nil
}

func (c Config) streamsFolder() string { return filepath.Join(c.DataDir, "jetstream") }

// localKey returns the file of a role's key in the data folder, empty if there is none.
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

// ContextFile is the name of MakeContext's file: a context of the `nats` command.
const ContextFile = "flowjet.json"

// MakeContext writes, into the folder that MakeKeys has filled, a context with which the `nats` command connects to the
// servers as an operator: those of the hosts by TLS, or this host's. Without hosts it keeps an existing one, which may be for hosts.
func MakeContext(folder string, hosts []string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("find the folder of NATS keys: %w", err)
	}
	path := filepath.Join(folder, ContextFile)
	if _, err := os.Stat(path); err == nil && len(hosts) == 0 {
		return nil
	}
	urls := []string{"nats://127.0.0.1:4222"}
	context := map[string]string{
		"description":  "Flowjet, as an operator",
		"nkey":         filepath.Join(folder, string(pipeline.RoleOperator)+".nk"),
		"inbox_prefix": pipeline.RoleOperator.InboxPrefix(),
	}
	if len(hosts) > 0 {
		urls = nil
		context["ca"] = filepath.Join(folder, authorityFile)
	}
	for _, host := range hosts {
		urls = append(urls, "tls://"+host+":4222")
	}
	context["url"] = strings.Join(urls, ",")
	text, err := json.MarshalIndent(context, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the context of the nats command: %w", err)
	}
	return nil
}
