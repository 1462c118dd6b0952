package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/webhooks"
)

// Config is everything that can be set. The options table below gives each field its flag, its environment variable and its
// meaning.
type Config struct {
	// origins say where each key was set, for messages.
	origins map[string]string
	// values are what was read, by key.
	values map[string]any

	DataDir string `koanf:"data_dir"`
	Zone    int    `koanf:"zone"`
	API     struct {
		Listen          string `koanf:"listen"`
		CertificateFile string `koanf:"certificate_file"`
		KeyFile         string `koanf:"key_file"`
		// ActionNumber and ActionPeriod pace actions on many VMs that do not say.
		ActionNumber int           `koanf:"action_number"`
		ActionPeriod time.Duration `koanf:"action_period"`
		// VMLink is the address of a VM in Sunstone, with {id}; empty for none.
		VMLink string `koanf:"vm_link"`
		// ServiceLogDir has a log file of each service; empty for none.
		ServiceLogDir string `koanf:"service_log_dir"`
	} `koanf:"api"`
	NATS struct {
		Listen   string `koanf:"listen"`
		URL      string `koanf:"url"`
		Replicas int    `koanf:"replicas"`
		// Name, ClusterListen and Routes make the embedded server one of several.
		Name          string   `koanf:"name"`
		ClusterListen string   `koanf:"cluster_listen"`
		Routes        []string `koanf:"routes"`
		// ServerFile gives the embedded server what has no option of its own: accounts, users, TLS.
		ServerFile string `koanf:"server_file"`
		// NkeyFile, an nkey seed or credentials, is who this process is to NATS.
		NkeyFile string `koanf:"nkey_file"`
		// CAFile and CertificateFile, with the key in it, are for TLS to NATS.
		CAFile          string `koanf:"ca_file"`
		CertificateFile string `koanf:"certificate_file"`
		// Provision has a start make the streams that are missing.
		Provision bool `koanf:"provision"`
	} `koanf:"nats"`
	One struct {
		XMLRPC   []string `koanf:"xmlrpc"`
		Hooks    []string `koanf:"hooks"`
		AuthFile string   `koanf:"auth_file"`
		// Connections is for all processes together.
		Connections int `koanf:"connections"`
	} `koanf:"one"`
	Worker struct {
		Cooldown       time.Duration `koanf:"default_cooldown"`
		ShutdownAction string        `koanf:"shutdown_action"`
		VMNameTemplate string        `koanf:"vm_name_template"`
		VRNameTemplate string        `koanf:"vr_name_template"`
		Look           time.Duration `koanf:"look_again"`
		Autoscaler     time.Duration `koanf:"autoscaler_interval"`
		Deadlines      []string      `koanf:"deadlines"`
	} `koanf:"worker"`
	Webhooks struct {
		File string `koanf:"file"`
	} `koanf:"webhooks"`
	Sim struct {
		Enabled   bool          `koanf:"enabled"`
		Listen    []string      `koanf:"listen"`
		BootDelay time.Duration `koanf:"boot_delay"`
		// TimePercent is how long all else takes beside a real oned.
		TimePercent int `koanf:"time_percent"`
	} `koanf:"sim"`
	Bridge struct {
		Events []string `koanf:"events"`
	} `koanf:"bridge"`
	Status struct {
		Listen string `koanf:"listen"`
	} `koanf:"status"`
	Log struct {
		Level  string `koanf:"level"`
		Format string `koanf:"format"`
	} `koanf:"log"`
}

// Settings are the domain's part of the configuration.
func (c Config) Settings() flow.Settings {
	// The check of the configuration has refused what cannot be read.
	limits, _ := parseDeadlines(c.Worker.Deadlines)
	return flow.Settings{
		Cooldown:       c.Worker.Cooldown,
		ShutdownAction: c.Worker.ShutdownAction,
		VMNameTemplate: c.Worker.VMNameTemplate,
		VRNameTemplate: c.Worker.VRNameTemplate,
		Look:           c.Worker.Look,

		AutoscalerInterval: c.Worker.Autoscaler,
		Deadlines:          limits.services,
		VMDeadlines:        limits.vms,
	}
}

type deadlines struct {
	services policy.Deadlines
	vms      flow.VMDeadlines
}

// parseDeadlines reads deadlines of services and of VMs, each known by its name.
func parseDeadlines(list []string) (deadlines, error) {
	var services, vms []string
	for _, one := range list {
		name, value, _ := strings.Cut(one, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		_, notOfVMs := flow.ParseVMDeadlines([]string{name + "=0s"})
		_, notOfServices := policy.ParseDeadlines([]string{name + "=0"})
		switch length, err := time.ParseDuration(value); {
		case notOfVMs == nil:
			vms = append(vms, one)
			continue
		case notOfServices != nil && name != "then":
			return deadlines{}, fmt.Errorf("%w, or of VMs: it %w", notOfServices, notOfVMs)
		case err == nil:
			value = strconv.FormatFloat(length.Seconds(), 'f', -1, 64) // as a template has it
		}
		services = append(services, name+"="+value)
	}
	var limits deadlines
	var ofServices, ofVMs error
	limits.services, ofServices = policy.ParseDeadlines(services)
	limits.vms, ofVMs = flow.ParseVMDeadlines(vms)
	return limits, cmp.Or(ofServices, ofVMs)
}

// Reload takes over a new configuration's log.level, which is all that a running process can, reads the NATS server's file, the
// webhooks file and the server user's password again, and logs each change and each that waits for a restart. The files of
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
	var failed []error
	if a.webhooks != nil {
		settings, err := webhooks.ReadSettings(a.config.Webhooks.File)
		if err == nil { // one that is wrong changes nothing
			a.webhooks.Reload(settings)
		}
		failed = append(failed, err)
	}
	if a.oned != nil {
		changed := false
		credentials, err := a.credentials()
		if err == nil {
			if changed, err = a.oned.Renew(credentials); err != nil {
				err = fmt.Errorf("reload %s: %w", a.config.One.AuthFile, err)
			}
		}
		if changed {
			a.logger.Warn("the server user's changed password was applied", "file", a.config.One.AuthFile)
		}
		failed = append(failed, err)
	}
	if a.server != nil {
		failed = append(failed, a.server.Reload())
	}
	return errors.Join(failed...)
}

// Alive reports whether the process is not stuck: every part answers what only needs its own locks. It returns the first reason,
// or ctx's end.
func (a *App) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = heldUp(a)
	}()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the process does not respond to its own check: %w", ctx.Err())
	}
}
