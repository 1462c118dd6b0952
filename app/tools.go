package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

// Settings are the domain's part of the configuration.
func (c Config) Settings() flow.Settings { return c.settings() }

// Oned is a client for commands that work beside the running parts.
func (c Config) Oned(logger *slog.Logger) (*opennebula.Client, error) {
	credentials, err := opennebula.ReadCredentials(c.authFile())
	if err != nil {
		return nil, fmt.Errorf("%w: name the right file with --one-auth-file", err)
	}
	return opennebula.NewClient(opennebula.Config{
		Endpoint: c.One.XMLRPC[0], Others: c.One.XMLRPC[1:], Credentials: credentials, Logger: logger,
	}), nil
}

// HookEndpoints are those configured, or port 2101 of each server of the zone.
func (c Config) HookEndpoints(ctx context.Context, oned *opennebula.Client) ([]string, error) {
	if len(c.One.Hooks) > 0 {
		return c.One.Hooks, nil
	}
	zone, err := oned.Server().Zone(ctx, c.Zone)
	if err != nil {
		return nil, fmt.Errorf("ask oned for the servers of zone %d: %w", c.Zone, err)
	}
	addresses := []string{c.One.XMLRPC[0]}
	if len(zone.Servers) > 0 {
		addresses = nil
	}
	for _, server := range zone.Servers {
		addresses = append(addresses, server.Endpoint)
	}
	var endpoints []string
	for _, address := range addresses {
		parsed, err := url.Parse(address)
		if err != nil || parsed.Hostname() == "" {
			return nil, fmt.Errorf("an endpoint of zone %d is not an address: name the hook endpoints with --one-hooks", c.Zone)
		}
		endpoints = append(endpoints, "tcp://"+net.JoinHostPort(parsed.Hostname(), "2101"))
	}
	return endpoints, nil
}

// Store opens what Flowjet keeps, for commands that work beside the running
// parts or in their place: the NATS servers of the configuration, or the embedded
// one, which is started for it where Flowjet does not run. release ends it.
func (c Config) Store(ctx context.Context, logger *slog.Logger) (pipe *pipeline.Pipeline, release func(), err error) {
	asked := pipeline.Config{Role: pipeline.RoleOperator, Name: "flowjet", Bound: !c.NATS.Provision, Logger: logger}
	if c.NATS.URL != "" {
		pipe, err = c.Open(ctx, asked)
		if err != nil {
			return nil, nil, fmt.Errorf("%w (the address is --nats-url's)", err)
		}
		return pipe, pipe.Close, nil
	}
	file, err := c.serverFile()
	if err != nil {
		return nil, nil, err
	}
	server, err := embedded.Start(embedded.Config{
		StoreDir: c.streamsFolder(), SyncAlways: c.NATS.Sync, File: file, Name: c.NATS.Name, Logger: logger,
	})
	if errors.Is(err, embedded.ErrInUse) {
		asked.URL = "nats://" + c.NATS.Listen
		if pipe, err = c.Open(ctx, asked); err != nil {
			return nil, nil, err
		}
		return pipe, pipe.Close, nil
	}
	if err != nil {
		return nil, nil, err
	}
	asked.URL, asked.Options = server.URL(), append(asked.Options, server.InProcess())
	stop := func() {
		if pipe != nil {
			pipe.Close()
		}
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterPatience)
		defer cancel()
		_ = server.Stop(stopping) // what was acknowledged is on the disk
		keepOwner(c.DataDir, logger)
	}
	if pipe, err = c.Open(ctx, asked); err != nil {
		stop()
		return nil, nil, err
	}
	return pipe, stop, nil
}

// keepOwner gives what root has written below a folder to the folder's owner: the
// service runs as another user.
func keepOwner(folder string, logger *slog.Logger) {
	info, err := os.Stat(folder)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !known || owner.Uid == 0 {
		return
	}
	err = filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}
		return err
	})
	if err != nil {
		logger.Warn("files in the data folder stay root's: give them to its owner before the service starts", "folder", folder, "error", err)
	}
}
