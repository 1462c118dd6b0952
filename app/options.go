package app

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/flow"
)

// Config is everything that can be set. The options table below gives each
// field its flag, its environment variable and its meaning.
type Config struct {
	DataDir string `koanf:"data_dir"`
	Zone    int    `koanf:"zone"`
	API     struct {
		Listen        string        `koanf:"listen"`
		CredentialTTL time.Duration `koanf:"credential_ttl"`
		ReplyWait     time.Duration `koanf:"reply_wait"`
		// CertificateFile and KeyFile turn TLS on.
		CertificateFile string `koanf:"certificate_file"`
		KeyFile         string `koanf:"key_file"`
		// What clients can take; restapi.Limits says more of each.
		MaxBody           int           `koanf:"max_body"`
		MaxRequests       int           `koanf:"max_requests"`
		UserReads         int           `koanf:"user_reads"`
		UserChanges       int           `koanf:"user_changes"`
		MaxCommands       int           `koanf:"max_commands"`
		MaxCommandsOfUser int           `koanf:"max_commands_of_user"`
		HeaderTimeout     time.Duration `koanf:"header_timeout"`
		RequestTimeout    time.Duration `koanf:"request_timeout"`
		MaxFollowers      int           `koanf:"max_followers"`
		MaxCredentials    int           `koanf:"max_credentials"`
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
	} `koanf:"nats"`
	One struct {
		XMLRPC   string        `koanf:"xmlrpc"`
		Hooks    []string      `koanf:"hooks"`
		AuthFile string        `koanf:"auth_file"`
		Timeout  time.Duration `koanf:"timeout"`
	} `koanf:"one"`
	Worker struct {
		Cooldown       time.Duration `koanf:"default_cooldown"`
		ShutdownAction string        `koanf:"shutdown_action"`
		VMNameTemplate string        `koanf:"vm_name_template"`
		VRNameTemplate string        `koanf:"vr_name_template"`
		Look           time.Duration `koanf:"look_again"`
		MaxCalls       int64         `koanf:"max_calls"`
		ScanInterval   time.Duration `koanf:"scan_interval"`
	} `koanf:"worker"`
	Sim struct {
		Enabled       bool          `koanf:"enabled"`
		XMLRPCListen  string        `koanf:"xmlrpc_listen"`
		HooksListen   string        `koanf:"hooks_listen"`
		ControlListen string        `koanf:"control_listen"`
		BootDelay     time.Duration `koanf:"boot_delay"`
		CallDelay     time.Duration `koanf:"call_delay"`
		AuthFile      string        `koanf:"auth_file"`
	} `koanf:"sim"`
	Bridge BridgeConfig `koanf:"bridge"`
	Status struct {
		Listen string `koanf:"listen"`
	} `koanf:"status"`
	Log struct {
		Level string `koanf:"level"`
	} `koanf:"log"`
}

// option is one thing that can be set: by --flag, by FLOWJET_FLAG, or under its
// key in the configuration file; the flag wins over the environment, the
// environment over the file.
type option struct {
	flag, key, usage string
	standard         any
}

var options = slices.Concat(commonOptions, bridgeOptions)

var commonOptions = []option{
	{"data-dir", "data_dir", "folder for JetStream's files and the simulator's state", "./flowjet-data"},
	{"zone", "zone", "id of the OpenNebula zone", 0},
	{"api-listen", "api.listen", "host:port of the OneFlow API", "127.0.0.1:2474"},
	{"api-credential-ttl", "api.credential_ttl", "how long a checked user and password are believed", 30 * time.Second},
	{"api-reply-wait", "api.reply_wait", "how long a request waits for the worker before it answers 202", 5 * time.Second},
	{"api-certificate-file", "api.certificate_file", "PEM certificate of the OneFlow API; with it the API speaks TLS", ""},
	{"api-key-file", "api.key_file", "PEM key that belongs to the certificate", ""},
	{"api-max-body", "api.max_body", "largest body of a request, in bytes", 1 << 20},
	{"api-max-requests", "api.max_requests", "requests worked on at once; more are turned away with 503", 512},
	{"api-user-reads", "api.user_reads", "reads that a user may make a second, and twice as many at once", 5000},
	{"api-user-changes", "api.user_changes", "changes that a user may make a second, and twice as many at once", 200},
	{"api-max-commands", "api.max_commands", "commands that may wait for their workers, of all APIs together", 2000},
	{"api-max-commands-of-user", "api.max_commands_of_user", "commands of one user that may wait for their workers", 500},
	{"api-header-timeout", "api.header_timeout", "how long a client may take to send a request's header", 5 * time.Second},
	{"api-request-timeout", "api.request_timeout", "how long a client may take to send a whole request", 30 * time.Second},
	{"api-max-followers", "api.max_followers", "clients that may follow events at once", 200},
	{"api-max-credentials", "api.max_credentials", "checked credentials that are remembered at once", 10000},
	{"nats-listen", "nats.listen", "host:port of the embedded NATS server", "127.0.0.1:4222"},
	{"nats-url", "nats.url", "external NATS servers to use instead of the embedded one, comma separated", ""},
	{"nats-replicas", "nats.replicas", "copies of each stream; more than 1 needs an external cluster", 1},
	{"nats-sync-always", "nats.sync_always", "have the embedded server write each message to disk before it acknowledges it", true},
	{"nats-name", "nats.name", "name of the embedded server, its own in a cluster", "flowjet"},
	{"nats-cluster", "nats.cluster", "name of the cluster that the embedded server joins; empty for a server alone", ""},
	{"nats-cluster-listen", "nats.cluster_listen", "host:port of the embedded server for the others of its cluster", "127.0.0.1:6222"},
	{"nats-routes", "nats.routes", "cluster addresses of the others, nats://host:port, comma separated", []string(nil)},
	{"one-xmlrpc", "one.xmlrpc", "oned's XML-RPC endpoint", "http://127.0.0.1:2633/RPC2"},
	{"one-hooks", "one.hooks", "oned's hook-event endpoints, tcp://host:2101, one a front-end; without any, port 2101 of each server of the zone", []string(nil)},
	{"one-auth-file", "one.auth_file", "file with serveradmin:password", "/var/lib/one/.one/oneflow_auth"},
	{"one-timeout", "one.timeout", "how long a call to oned may take", 30 * time.Second},
	{"default-cooldown", "worker.default_cooldown", "how long a service waits after scaling where its role does not say", 300 * time.Second},
	{"shutdown-action", "worker.shutdown_action", "what ends a VM where neither role nor service says: terminate or terminate-hard", "terminate"},
	{"vm-name-template", "worker.vm_name_template", "names of VMs; $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER are filled in", "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)"},
	{"vr-name-template", "worker.vr_name_template", "names of virtual routers; $SERVICE_ID, $SERVICE_NAME and $ROLE_NAME are filled in", "$ROLE_NAME(service_$SERVICE_ID)"},
	{"look-again", "worker.look_again", "after how long a waiting service is looked at again although nothing was heard", 30 * time.Second},
	{"scan-interval", "worker.scan_interval", "how often all services are looked through for one that nothing wakes", 2 * time.Minute},
	{"max-calls", "worker.max_calls", "how many calls to oned a worker makes at once", 10},
	{"sim", "sim.enabled", "start a simulated OpenNebula and use it", false},
	{"sim-xmlrpc-listen", "sim.xmlrpc_listen", "host:port of the simulated oned", "127.0.0.1:2633"},
	{"sim-hooks-listen", "sim.hooks_listen", "host:port of the simulated hook events", "127.0.0.1:2101"},
	{"sim-control-listen", "sim.control_listen", "host:port of the simulator's control API", "127.0.0.1:2634"},
	{"sim-boot-delay", "sim.boot_delay", "how long each step of a simulated VM takes", 2 * time.Millisecond},
	{"sim-call-delay", "sim.call_delay", "how long each call to the simulated oned takes", time.Duration(0)},
	{"sim-auth-file", "sim.auth_file", "file that the simulator writes serveradmin's name and password to, for other processes", ""},
	{"status-listen", "status.listen", "host:port for /metrics and /health of a process without an API; empty for none", ""},
	{"log-level", "log.level", "debug, info (with every request), warn or error", "warn"},
}

// AddFlags defines a flag for every option.
func AddFlags(flags *pflag.FlagSet) {
	for _, o := range options {
		usage := o.usage + " (" + envName(o.flag) + ")"
		switch value := o.standard.(type) {
		case string:
			flags.String(o.flag, value, usage)
		case int:
			flags.Int(o.flag, value, usage)
		case bool:
			flags.Bool(o.flag, value, usage)
		case time.Duration:
			flags.Duration(o.flag, value, usage)
		case []string:
			flags.StringSlice(o.flag, value, usage)
		}
	}
}

func envName(flag string) string {
	return "FLOWJET_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ReadConfig puts the configuration together: defaults, the file at path if one
// is given, FLOWJET_… variables, and the flags that were set.
func ReadConfig(path string, flags *pflag.FlagSet) (Config, error) {
	keyOf := map[string]string{}
	for _, o := range options {
		keyOf[o.flag] = o.key
		keyOf[envName(o.flag)] = o.key
	}
	values := koanf.New(".")
	if path != "" {
		if err := loadFile(values, path); err != nil {
			return Config{}, err
		}
	}
	environment := env.Provider(".", env.Opt{
		Prefix: "FLOWJET_",
		TransformFunc: func(name, value string) (string, any) {
			return keyOf[name], value
		},
	})
	if err := values.Load(environment, nil); err != nil {
		return Config{}, fmt.Errorf("read the FLOWJET_ variables: %w", err)
	}
	given := posflag.ProviderWithFlag(flags, ".", values, func(f *pflag.Flag) (string, any) {
		key := keyOf[f.Name]
		if !f.Changed && values.Exists(key) {
			return "", nil
		}
		return key, posflag.FlagVal(flags, f)
	})
	if err := values.Load(given, nil); err != nil {
		return Config{}, fmt.Errorf("read the flags: %w", err)
	}
	return decode(values, path)
}

func loadFile(values *koanf.Koanf, path string) error {
	err := values.Load(file.Provider(path), yaml.Parser())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the configuration file %s does not exist: create it or leave --config out", path)
	case err != nil:
		return fmt.Errorf("read the configuration file %s: %w", path, err)
	}
	known := map[string]bool{}
	for _, o := range options {
		known[o.key] = true
	}
	for _, key := range values.Keys() {
		if !known[key] {
			return fmt.Errorf("the configuration file %s sets %q, which does not exist: see `flowjet up --help` for what does", path, key)
		}
	}
	return nil
}

func decode(values *koanf.Koanf, path string) (Config, error) {
	var config Config
	err := values.UnmarshalWithConf("", &config, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result:           &config,
		TagName:          "koanf",
		WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
		),
	}})
	if err != nil {
		return Config{}, fmt.Errorf("the configuration (file %q, FLOWJET_ variables, flags) cannot be used: %w", path, err)
	}
	return config, config.check()
}

// settings are the domain's part of the configuration.
func (c Config) settings() flow.Settings {
	return flow.Settings{
		Cooldown:       c.Worker.Cooldown,
		ShutdownAction: c.Worker.ShutdownAction,
		VMNameTemplate: c.Worker.VMNameTemplate,
		VRNameTemplate: c.Worker.VRNameTemplate,
		Look:           c.Worker.Look,
	}
}

// check finds what would fail later in a less clear way.
func (c Config) check() error {
	switch {
	case c.NATS.Replicas < 1 || c.NATS.Replicas > 5:
		return fmt.Errorf("nats.replicas is %d: it must be 1 to 5", c.NATS.Replicas)
	case c.NATS.Replicas > 1 && c.NATS.URL == "" && c.NATS.Cluster == "":
		return fmt.Errorf("nats.replicas is %d, but the embedded server is alone: set nats.url to a cluster", c.NATS.Replicas)
	case c.Worker.Look < time.Second:
		return fmt.Errorf("worker.look_again is %s: it must be 1s or more", c.Worker.Look)
	case c.Worker.ScanInterval < time.Second:
		return fmt.Errorf("worker.scan_interval is %s: it must be 1s or more", c.Worker.ScanInterval)
	}
	if err := c.checkLimits(); err != nil {
		return err
	}
	return c.Bridge.check()
}
