package app

import (
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
		Sync     bool   `koanf:"sync_always"`
		// Name, Cluster, ClusterListen and Routes make the embedded server one of several.
		Name          string   `koanf:"name"`
		Cluster       string   `koanf:"cluster"`
		ClusterListen string   `koanf:"cluster_listen"`
		Routes        []string `koanf:"routes"`
		// ServerFile gives the embedded server what has no option of its own:
		// accounts, users, TLS.
		ServerFile string `koanf:"server_file"`
		// CredentialsFile or NkeyFile say who this process is to NATS.
		CredentialsFile string `koanf:"credentials_file"`
		NkeyFile        string `koanf:"nkey_file"`
		// CAFile, CertificateFile and KeyFile are for TLS to NATS.
		CAFile          string `koanf:"ca_file"`
		CertificateFile string `koanf:"certificate_file"`
		KeyFile         string `koanf:"key_file"`
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
		MaxCalls       int64         `koanf:"max_calls"`
		Autoscaler     time.Duration `koanf:"autoscaler_interval"`
		Deadlines      []string      `koanf:"deadlines"`
		// VMDeadlines are for how long a VM may stay in a state that it should leave by itself.
		VMDeadlines []string `koanf:"vm_deadlines"`
	} `koanf:"worker"`
	Webhooks struct {
		File string `koanf:"file"`
	} `koanf:"webhooks"`
	Sim struct {
		Enabled       bool          `koanf:"enabled"`
		XMLRPCListen  string        `koanf:"xmlrpc_listen"`
		HooksListen   string        `koanf:"hooks_listen"`
		Others        []string      `koanf:"others"`
		ControlListen string        `koanf:"control_listen"`
		BootDelay     time.Duration `koanf:"boot_delay"`
		CallDelay     time.Duration `koanf:"call_delay"`
		// TimePercent is how long all else takes beside a real oned.
		TimePercent int    `koanf:"time_percent"`
		AuthFile    string `koanf:"auth_file"`
	} `koanf:"sim"`
	Bridge BridgeConfig `koanf:"bridge"`
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
	deadlines, _ := policy.ParseDeadlines(c.Worker.Deadlines)
	vmDeadlines, _ := flow.ParseVMDeadlines(c.Worker.VMDeadlines)
	return flow.Settings{
		Cooldown:       c.Worker.Cooldown,
		ShutdownAction: c.Worker.ShutdownAction,
		VMNameTemplate: c.Worker.VMNameTemplate,
		VRNameTemplate: c.Worker.VRNameTemplate,
		Look:           c.Worker.Look,

		AutoscalerInterval: c.Worker.Autoscaler,
		Deadlines:          deadlines,
		VMDeadlines:        vmDeadlines,
	}
}
