package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/flowjet/flowjet/webhooks"
)

// Reload takes over a new configuration's log.level, which is all that a running process
// can, reads the NATS server's file, the webhooks file and the server user's password
// again, and logs each change and each that waits for a restart. The files of
// certificates, keys and credentials are read again by themselves.
func (a *App) Reload(config Config, log Log) error {
	var waiting []string
	for _, o := range options {
		was, is := a.config.values[o.key], config.values[o.key]
		if reflect.DeepEqual(was, is) {
			continue
		}
		if o.key != "log.level" {
			waiting = append(waiting, o.key)
			continue
		}
		if err := setLevel(log.level, config.Log.Level); err != nil {
			return fmt.Errorf("reload %s: %w", o.key, err)
		}
		a.config.values[o.key] = is
		a.logger.Warn("a changed option was applied", "option", o.key, "was", was, "is", is)
	}
	if len(waiting) > 0 {
		a.logger.Warn("changed options take effect after a restart", "options", strings.Join(waiting, ", "))
	}
	err := errors.Join(reloader{a}.reloadWebhooks(), reloader{a}.reloadCredentials())
	if a.server != nil {
		err = errors.Join(err, a.server.Reload())
	}
	return err
}

// reloadCredentials reads the server user's password again.
func (r reloader) reloadCredentials() error {
	if r.oned == nil {
		return nil
	}
	credentials, err := r.credentials()
	if err != nil {
		return err
	}
	changed, err := r.oned.Renew(credentials)
	if err != nil {
		return fmt.Errorf("reload %s: %w", r.config.One.AuthFile, err)
	}
	if changed {
		r.logger.Warn("the server user's changed password was applied", "file", r.config.One.AuthFile)
	}
	return nil
}

// Alive reports whether the process is not stuck: every part answers what only needs
// its own locks. It returns the first reason, or ctx's end.
func (a *App) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = statusPage{a}.heldUp()
	}()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the process does not respond to its own check: %w", ctx.Err())
	}
}

// reloader takes over what can be changed while the process runs.
type reloader struct{ *App }

// reloadWebhooks reads the webhooks file again; one that is wrong changes nothing.
func (r reloader) reloadWebhooks() error {
	if r.webhooks == nil {
		return nil
	}
	settings, err := webhooks.ReadSettings(r.config.Webhooks.File)
	if err != nil {
		return err
	}
	r.webhooks.Reload(settings)
	return nil
}
