package app

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/webhooks"
)

// startWebhooks delivers to webhooks what falls to this process's worker. Without
// a webhooks file there are none.
func (a *App) startWebhooks(ctx context.Context) error {
	if a.config.Webhooks.File == "" {
		return nil
	}
	settings, err := webhooks.ReadSettings(a.config.Webhooks.File)
	if err != nil {
		return fmt.Errorf("%w (its path is --webhooks-file's)", err)
	}
	a.webhooks = webhooks.New(webhooks.Config{
		Settings: settings, Owns: a.worker.Owns, Version: a.version,
		Logger: a.logger.With("part", "webhooks"), Registerer: a.metrics,
	}, a.pipe)
	if err := a.webhooks.Start(ctx); err != nil {
		return err
	}
	a.onStop(a.webhooks.Stop)
	return nil
}

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
