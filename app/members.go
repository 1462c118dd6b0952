package app

import (
	"context"
	"os"
	"path/filepath"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/presence"
)

// identityOf is what the process announces of itself that does not change. A pod is no member:
// it never comes back under its name, and Kubernetes sees to how many there are.
func identityOf(a *App) pipeline.Process {
	self := pipeline.Process{ID: name("process"), Release: a.version}
	for _, part := range []Part{PartBridge, PartWorker, PartAPI} {
		if a.has(part) {
			self.Parts = append(self.Parts, string(part))
		}
	}
	host, err := os.Hostname()
	if _, pod := os.LookupEnv("KUBERNETES_SERVICE_HOST"); err != nil || pod {
		return self
	}
	self.Host, self.Name = host, host
	what := "up"
	if len(self.Parts) == 1 {
		what = self.Parts[0]
	}
	self.Name += " " + what
	if folder := filepath.Clean(a.config.DataDir); folder != filepath.Clean(standardDataDir) && folder != packagedDataDir && filepath.Dir(folder) != packagedDataDir {
		self.Name += " " + filepath.Base(folder)
	}
	return self
}

// packagedDataDir is where the packages' units have their data folders: a host has one of each.
const packagedDataDir = "/var/lib/flowjet"

// keepMembers returns the step of a start that has one of the workers keep which processes
// are expected.
func keepMembers(a *App) func(context.Context) error {
	return func(ctx context.Context) error {
		follower, err := presence.Follow(a.pipe)
		if err != nil {
			return err
		}
		a.onStop(func(context.Context) error { follower.Stop(); return nil })
		a.background(ctx, func(ctx context.Context) {
			follower.Keep(ctx, func() bool { return a.worker.Owns(pipeline.RouterKey) })
		})
		return nil
	}
}
