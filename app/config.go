package app

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/policy"
)

// Config is everything that can be set. The options table below gives each
// field its flag, its environment variable and its meaning.
type Config struct {
	// origins say where each key was set, for messages.
	origins map[string]string
	// values are what was read, by key.
	values map[string]any

	DataDir string `koanf:"data_dir"`
	Zone    int    `koanf:"zone"`
	API     struct {
		Listen string `koanf:"listen"`
		// CertificateFile and KeyFile turn TLS on.
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
		// Name, Cluster, ClusterListen and Routes make the embedded server one of several.
		Name          string   `koanf:"name"`
		Cluster       string   `koanf:"cluster"`
		ClusterListen string   `koanf:"cluster_listen"`
		Routes        []string `koanf:"routes"`
		// ServerFile gives the embedded server what has no option of its own:
		// accounts, users, TLS.
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

// deadlines are worker.deadlines, read.
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
