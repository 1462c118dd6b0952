package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// role is who this process is to NATS.
func (a *App) role() pipeline.Role {
	working := slices.DeleteFunc(slices.Clone(a.parts), func(part Part) bool {
		return part != PartWorker && part != PartBridge && part != PartAPI
	})
	if len(working) != 1 || a.has(PartNATS) { // whose the server is makes the streams
		return pipeline.RoleAll
	}
	return map[Part]pipeline.Role{
		PartWorker: pipeline.RoleWorker, PartBridge: pipeline.RoleBridge, PartAPI: pipeline.RoleAPI,
	}[working[0]]
}

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
	c.NATS.CredentialsFile = strings.ReplaceAll(c.NATS.CredentialsFile, roleMark, string(role))
	c.NATS.NkeyFile = strings.ReplaceAll(c.NATS.NkeyFile, roleMark, string(role))
	if c.NATS.NkeyFile == "" && c.NATS.CredentialsFile == "" {
		key, err := c.localKey(role)
		if err != nil {
			return nil, err
		}
		c.NATS.NkeyFile = key
	}
	var options []nats.Option
	if c.NATS.CAFile != "" {
		options = append(options, nats.RootCAs(c.NATS.CAFile))
	}
	if c.NATS.CertificateFile != "" {
		options = append(options, nats.ClientCert(c.NATS.CertificateFile, c.NATS.KeyFile))
	}
	if c.NATS.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.NATS.CredentialsFile))
	}
	if c.NATS.NkeyFile != "" {
		seed, err := nats.NkeyOptionFromSeed(c.NATS.NkeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the nkey seed %s: %w: it should hold one line that begins with SU, as `flowjet nats keys` makes it", c.NATS.NkeyFile, err)
		}
		options = append(options, seed)
	}
	return options, nil
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
