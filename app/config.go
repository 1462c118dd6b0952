package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/webhooks"
)

// Config has all settings. The options table below gives each field its flag, its environment variable and its meaning.
type Config struct {
	origins map[string]string // where each key was set, for messages

	DataDir string
	Zone    int
	API     struct {
		Listen          string
		CertificateFile string
		KeyFile         string
		ActionNumber    int
		ActionPeriod    time.Duration
		VMLink          string
		ServiceLogDir   string
	}
	NATS struct {
		Listen          string
		URL             string
		Replicas        int
		Name            string
		ClusterListen   string
		Routes          []string
		ServerFile      string
		NkeyFile        string
		CAFile          string
		CertificateFile string
		Provision       bool
	}
	One struct {
		XMLRPC      []string
		Hooks       []string
		AuthFile    string
		Connections int
	}
	Worker struct {
		Cooldown       time.Duration
		ShutdownAction string
		VMNameTemplate string
		VRNameTemplate string
		CheckInterval  time.Duration
		Autoscaler     time.Duration
		Deadlines      []string
	}
	Webhooks struct {
		File string
	}
	Sim struct {
		Enabled     bool
		Listen      []string
		BootDelay   time.Duration
		TimePercent int
	}
	Bridge struct {
		Events []string
	}
	Status struct {
		Listen string
	}
	Log struct {
		Level  string
		Format string
	}
}

// Settings returns the domain's part of the configuration.
func (c Config) Settings() flow.Settings {
	// The configuration's check has refused invalid values.
	services, vms, _ := parseDeadlines(c.Worker.Deadlines)
	return flow.Settings{
		Cooldown:       c.Worker.Cooldown,
		ShutdownAction: c.Worker.ShutdownAction,
		VMNameTemplate: c.Worker.VMNameTemplate,
		VRNameTemplate: c.Worker.VRNameTemplate,
		CheckInterval:  c.Worker.CheckInterval,

		AutoscalerInterval: c.Worker.Autoscaler,
		Deadlines:          services,
		VMDeadlines:        vms,
	}
}

// parseDeadlines reads deadlines of services and of VMs, each known by its name.
func parseDeadlines(list []string) (policy.Deadlines, flow.VMDeadlines, error) {
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
			return policy.Deadlines{}, flow.VMDeadlines{}, fmt.Errorf("%w, or of VMs: it %w", notOfServices, notOfVMs)
		case err == nil:
			value = strconv.FormatFloat(length.Seconds(), 'f', -1, 64) // as a template has it
		}
		services = append(services, name+"="+value)
	}
	ofServices, wrongOfServices := policy.ParseDeadlines(services)
	ofVMs, wrongOfVMs := flow.ParseVMDeadlines(vms)
	return ofServices, ofVMs, cmp.Or(wrongOfServices, wrongOfVMs)
}

// Reload applies a new configuration's log.level, which is all that a running process can change, reads the NATS server's
// file, the webhooks file and the server user's password again, and logs each change and each setting that needs a restart.
// The files of certificates, keys and credentials are read again without a reload.
func (a *App) Reload(config Config, log Log) error {
	var waiting []string
	for _, o := range options {
		was, is := o.value(&a.read), o.value(&config)
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
		a.read.Log.Level = config.Log.Level
		a.logger.Warn("a changed option was applied", "option", o.key, "was", was, "is", is)
	}
	if len(waiting) > 0 {
		a.logger.Warn("changed options take effect after a restart", "options", strings.Join(waiting, ", "))
	}
	var failed []error
	if a.webhooks != nil {
		settings, err := webhooks.ReadSettings(a.config.Webhooks.File)
		if err == nil { // an invalid file changes nothing
			a.webhooks.Reload(settings)
		}
		failed = append(failed, err)
	}
	if a.oned != nil {
		failed = append(failed, renewServerUser(a))
	}
	if a.server != nil {
		failed = append(failed, a.server.Reload())
	}
	return errors.Join(failed...)
}

// renewServerUser applies the server user's password that is in the file now.
func renewServerUser(a *App) error {
	credentials, err := a.credentials()
	if err != nil {
		return err
	}
	changed, err := a.oned.Renew(credentials)
	if err != nil {
		return fmt.Errorf("reload %s: %w", a.config.One.AuthFile, err)
	}
	if changed {
		a.logger.Warn("the server user's changed password was applied", "file", a.config.One.AuthFile)
	}
	return nil
}

// Alive reports whether the process is not stuck: every part answers a request that needs only its own locks. It returns
// the first reason, or ctx's error.
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

// option is one setting: by --flag, by FLOWJET_FLAG, or under its key in the configuration file; the flag wins over the
// environment, the environment over the file.
type option struct {
	flag, key string
	field     func(*Config) any // a pointer to it
	usage     string
	reason    string // when to set it
	standard  any    // of the field's type
	check     check
}

func (o option) value(c *Config) any { return reflect.ValueOf(o.field(c)).Elem().Interface() }

func (o option) set(c *Config, value any, origin string) {
	reflect.ValueOf(o.field(c)).Elem().Set(reflect.ValueOf(value))
	c.origins[o.key] = origin
}

// standardDataDir is the data folder unless another is set.
const standardDataDir = "./flowjet-data"

var options = []option{
	{"data-dir", "data_dir", func(c *Config) any { return &c.DataDir }, "folder for JetStream's files and the simulator's state", "the data belongs in another folder or on another disk", standardDataDir, nil},
	{"zone", "zone", func(c *Config) any { return &c.Zone }, "id of the OpenNebula zone", "oned serves another zone of a federation", 0, atLeast(0)},
	{"api-listen", "api.listen", func(c *Config) any { return &c.API.Listen }, "host:port of the OneFlow API", "clients are on other hosts, or another API has the port", "127.0.0.1:2474", address},
	{"api-certificate-file", "api.certificate_file", func(c *Config) any { return &c.API.CertificateFile }, "PEM certificate of the OneFlow API; enables TLS", "passwords cross a network and no load balancer encrypts them", "", nil},
	{"api-key-file", "api.key_file", func(c *Config) any { return &c.API.KeyFile }, "PEM key of that certificate", "with the certificate", "", nil},
	{"api-action-number", "api.action_number", func(c *Config) any { return &c.API.ActionNumber }, "VMs in each batch of a role or service action, if the request does not say", "clients that name no number should act on more VMs at a time", 1, atLeast(1)},
	{"api-action-period", "api.action_period", func(c *Config) any { return &c.API.ActionPeriod }, "time between two batches", "clients that name no period should act faster or slower", time.Minute, atLeastASecond},
	{"api-vm-link", "api.vm_link", func(c *Config) any { return &c.API.VMLink }, "URL of a VM in Sunstone for links on the live page, with {id} for the VM's id: https://sunstone.example.com/fireedge/sunstone/vm/{id}; empty for none", "users of the live page also use Sunstone", "", orEmpty(linkOfVM)},
	{"api-service-log-dir", "api.service_log_dir", func(c *Config) any { return &c.API.ServiceLogDir }, "folder for a log file per service, <id>.log, in the format of OneFlow's /var/log/one/oneflow, for onelog; empty for none", "users read logs with `onelog`", "", nil},
	{"nats-listen", "nats.listen", func(c *Config) any { return &c.NATS.Listen }, "host:port of the embedded NATS server", "parts on other hosts use this server, or another one has the port", "127.0.0.1:4222", address},
	{"nats-url", "nats.url", func(c *Config) any { return &c.NATS.URL }, "external NATS servers to use instead of the embedded one, comma separated", "NATS runs elsewhere, as with several front-ends", "", each("nats, tls, ws or wss", "nats", "tls", "ws", "wss")},
	{"nats-replicas", "nats.replicas", func(c *Config) any { return &c.NATS.Replicas }, "replicas of each stream; more than 1 needs an external cluster", "the NATS cluster has three or five servers", 1, between(1, 5)},
	{"nats-name", "nats.name", func(c *Config) any { return &c.NATS.Name }, "name of the embedded server, unique in its cluster", "the server is in a cluster", "flowjet", notEmpty},
	{"nats-cluster-listen", "nats.cluster_listen", func(c *Config) any { return &c.NATS.ClusterListen }, "host:port of the embedded server for the other servers of its cluster", "the server is in a cluster", "127.0.0.1:6222", address},
	{"nats-routes", "nats.routes", func(c *Config) any { return &c.NATS.Routes }, "cluster addresses of the servers with which the embedded one forms a cluster, nats://host:port, comma separated; none for a single server", "the server is in a cluster", []string(nil), each("nats", "nats", "nats-route", "tls")},
	{"nats-server-file", "nats.server_file", func(c *Config) any { return &c.NATS.ServerFile }, "nats-server configuration file with further settings of the embedded server: accounts, users, TLS", "other hosts use the server, which then needs users and TLS", "", nil},
	{"nats-nkey-file", "nats.nkey_file", func(c *Config) any { return &c.NATS.NkeyFile }, "file with the nkey seed, or the credentials (JWT and seed), for the connection to NATS; {role} is replaced by bridge, worker, api, flowjet (up) or operator", "NATS has users, and the key is not in the data folder", "", nil},
	{"nats-ca-file", "nats.ca_file", func(c *Config) any { return &c.NATS.CAFile }, "PEM certificates of the authorities that sign the NATS servers' certificates; enables TLS", "the connection to NATS uses TLS", "", nil},
	{"nats-certificate-file", "nats.certificate_file", func(c *Config) any { return &c.NATS.CertificateFile }, "PEM file with the client certificate for the connection to NATS, and its key", "a NATS of others asks clients for a certificate", "", nil},
	{"nats-provision", "nats.provision", func(c *Config) any { return &c.NATS.Provision }, "create missing streams at startup; false if only an operator may, with `flowjet nats provision`", "the parts may not create streams", true, nil},
	{"one-xmlrpc", "one.xmlrpc", func(c *Config) any { return &c.One.XMLRPC }, "oned's XML-RPC endpoint; in a zone of several servers, any one of them (the zone lists the others) or all that Flowjet should use", "oned is on another host, or only some of its zone should be called", []string{"http://127.0.0.1:2633/RPC2"}, each("http or https", "http", "https")},
	{"one-hooks", "one.hooks", func(c *Config) any { return &c.One.Hooks }, "oned's hook-event endpoints, tcp://host:2101, one per front-end; if empty, port 2101 of each server of the zone", "hook events are on another port, or come through a proxy", []string(nil), each("tcp", "tcp")},
	{"one-auth-file", "one.auth_file", func(c *Config) any { return &c.One.AuthFile }, "file with serveradmin:password", "the server user's file is elsewhere", "/var/lib/one/.one/oneflow_auth", notEmpty},
	{"one-connections", "one.connections", func(c *Config) any { return &c.One.Connections }, "maximum number of connections to each oned, shared by all Flowjet processes; oned serves 15 to all clients and the other servers of its zone", "other clients of oned need more, or it serves more (`MAX_CONN`)", 8, nil},
	{"default-cooldown", "worker.default_cooldown", func(c *Config) any { return &c.Worker.Cooldown }, "cooldown after scaling, if the role does not set one", "templates rely on the default that OneFlow had here", 300 * time.Second, nil},
	{"shutdown-action", "worker.shutdown_action", func(c *Config) any { return &c.Worker.ShutdownAction }, "how VMs are terminated, if neither the role nor the service says: terminate or terminate-hard", "guests ignore ACPI", "terminate", oneOf("terminate", "terminate-hard")},
	{"vm-name-template", "worker.vm_name_template", func(c *Config) any { return &c.Worker.VMNameTemplate }, "names of VMs; $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER are replaced", "names follow a rule of the site", "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)", nil},
	{"vr-name-template", "worker.vr_name_template", func(c *Config) any { return &c.Worker.VRNameTemplate }, "names of virtual routers; $SERVICE_ID, $SERVICE_NAME and $ROLE_NAME are replaced", "names follow a rule of the site", "$ROLE_NAME(service_$SERVICE_ID)", nil},
	{"look-again", "worker.look_again", func(c *Config) any { return &c.Worker.CheckInterval }, "time without events after which a waiting service is checked again", "lost events should cost less time, or oned fewer reads", 30 * time.Second, atLeastASecond},
	{"autoscaler-interval", "worker.autoscaler_interval", func(c *Config) any { return &c.Worker.Autoscaler }, "how often the VMs of services with elasticity policies are measured; also the time after which roles below their min_vms are filled up", "monitoring is more or less frequent", 90 * time.Second, atLeastASecond},
	{"deadlines", "worker.deadlines", func(c *Config) any { return &c.Worker.Deadlines }, "default deadlines of services: pending=10m (no host for a VM), deploying=, scaling=, undeploying=, none without a value; then=fail, shrink or undeploy. How long a VM may stay in a state that it should leave by itself: ready= (none), prolog= (1h), boot= (10m), shutdown= (10m), epilog= (1h), leader-change= (45s); docs/services.md has the consequences", "services should not wait forever, or hosts need more time for images, boots and shutdowns", []string(nil), knownDeadlines},
	{"webhooks-file", "webhooks.file", func(c *Config) any { return &c.Webhooks.File }, "YAML file that configures webhooks; empty for none", "other systems are to be notified", "", nil},
	{"sim", "sim.enabled", func(c *Config) any { return &c.Sim.Enabled }, "start a simulated OpenNebula and use it", "there is no OpenNebula, to try, test or rehearse", false, nil},
	{"sim-listen", "sim.listen", func(c *Config) any { return &c.Sim.Listen }, "host:port of the simulated XML-RPC API, hook events and control API, comma separated; then of XML-RPC and hook events of each further server of the zone", "other hosts use the simulator, or a port is taken", []string{"127.0.0.1:2633", "127.0.0.1:2101", "127.0.0.1:2634"}, addressesOfZone},
	{"sim-boot-delay", "sim.boot_delay", func(c *Config) any { return &c.Sim.BootDelay }, "duration of each step of a simulated VM", "states of VMs should be seen", 2 * time.Millisecond, nil},
	{"sim-time-percent", "sim.time_percent", func(c *Config) any { return &c.Sim.TimePercent }, "duration of slow operations of the simulated OpenNebula, in percent of a real one's: a run of the authentication driver (300ms), an election (5s), the wait for the scheduler (10s, or seven VMs), the recovery after a restart (10s)", "waits should be as long as a real OpenNebula's", 5, between(1, 100)},
	{"status-listen", "status.listen", func(c *Config) any { return &c.Status.Listen }, "host:port for /metrics and /health without a password, and for /debug/pprof over loopback only; empty for none", "Prometheus or probes ask a process without an API, or from another host", "", orEmpty(address)},
	{"log-level", "log.level", func(c *Config) any { return &c.Log.Level }, "debug, info (with every request), warn or error", "a problem needs more detail, or an access log is wanted", "warn", oneOf("debug", "info", "warn", "error")},
	{"log-format", "log.format", func(c *Config) any { return &c.Log.Format }, "text, json, journal (text without times, with journald's priorities) or auto: journal under systemd, else text", "a collector reads JSON", "auto", oneOf("auto", "text", "json", "journal")},
	{"bridge-events", "bridge.events", func(c *Config) any { return &c.Bridge.Events }, "events to store: all state changes of vm, net, host, image, or of one state, such as vm/DONE, vm/ACTIVE/RUNNING, host/ERROR; and API calls, such as one.vm.chown or one.vm.*, with the object's id and READY but no other argument. Services need vm, net and one.vm.update; lists are kept by the last four", "other systems read OpenNebula's events from NATS, or none but services do", []string{"vm", "net", "host", "image", "one.vm.update", "one.document.*", "one.acl.*", "one.user.*", "one.group.*"}, nil},
}

// reading are the options of commands that only read, and running those that most users of Flowjet's parts set. A command's
// help shows no others.
var (
	reading = []string{"data-dir", "zone", "api-listen", "nats-url", "nats-nkey-file", "nats-ca-file", "one-xmlrpc", "one-auth-file"}
	running = append([]string{"api-certificate-file", "api-key-file", "nats-listen", "one-hooks", "webhooks-file", "sim", "status-listen", "log-level"}, reading...)
	serving = map[string][]string{ // by command: those that ask neither NATS nor oned
		"nats": {"nats-listen", "nats-name", "nats-cluster-listen", "nats-routes", "nats-server-file", "data-dir", "status-listen", "log-level"},
		"sim":  {"sim-listen", "sim-boot-delay", "sim-time-percent", "data-dir", "zone", "status-listen", "log-level"},
	}
)

// AddReadFlags is AddFlags for commands that only read.
func AddReadFlags(flags *pflag.FlagSet) { addShown(flags, reading) }

// AddRunFlags is AddFlags for a command that runs parts or prepares to.
func AddRunFlags(flags *pflag.FlagSet, command string) {
	shown, own := serving[command]
	if !own {
		shown = running
	}
	addShown(flags, shown)
}

// addShown defines a flag for every option and hides the rarely needed ones: DescribeOptions lists them.
func addShown(flags *pflag.FlagSet, shown []string) {
	AddFlags(flags)
	for _, o := range options {
		if !slices.Contains(shown, o.flag) {
			_ = flags.MarkHidden(o.flag) // it was defined just now
		}
	}
}

// DescribeOptions lists every option by section, in lines of at most so many characters.
func DescribeOptions(width int) string {
	var groups []string
	members := map[string]*pflag.FlagSet{}
	for _, o := range options {
		group, _, nested := strings.Cut(o.key, ".")
		if !nested {
			group = "all"
		}
		if members[group] == nil {
			groups = append(groups, group)
			members[group] = pflag.NewFlagSet(group, pflag.ContinueOnError)
			members[group].SortFlags = false
		}
		addOptions(members[group], []option{o})
	}
	var text strings.Builder
	for _, group := range groups {
		text.WriteString(group + ":\n" + members[group].FlagUsagesWrapped(width) + "\n")
	}
	return text.String()
}

// AddFlags defines a flag for every option.
func AddFlags(flags *pflag.FlagSet) { addOptions(flags, options) }

func addOptions(flags *pflag.FlagSet, options []option) {
	for _, o := range options {
		// pflag takes a word in backquotes as the name of the value.
		usage := strings.ReplaceAll(o.usage, "`", "'") + " (" + envName(o.flag) + ")"
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

type formerOption struct {
	flag, key string
	instead   string // the fixed value, or the option that replaces it
}

// formerOptions are refused with their replacement: ignoring them would hide that they have no effect.
var formerOptions = []formerOption{
	{"api-credential-ttl", "api.credential_ttl", "checked credentials are cached for 30s"},
	{"api-reply-wait", "api.reply_wait", "a request waits 5s for its worker, then it is answered 202"},
	{"api-max-body", "api.max_body", "a body has at most 1 MiB"},
	{"api-max-requests", "api.max_requests", "512 requests are processed at once, shared among users"},
	{"api-max-receiving", "api.max_receiving", "256 bodies are received at once, shared among users"},
	{"api-max-commands", "api.max_commands", "2,000 commands may wait for their workers"},
	{"api-max-commands-of-user", "api.max_commands_of_user", "500 commands of one user may wait for their workers"},
	{"api-header-timeout", "api.header_timeout", "a client has 5s for a header"},
	{"api-request-timeout", "api.request_timeout", "a client has 30s for a request"},
	{"api-max-followers", "api.max_followers", "200 clients may follow events at once"},
	{"api-max-followers-of-user", "api.max_followers_of_user", "20 clients of one user may follow events at once"},
	{"api-max-credentials", "api.max_credentials", "10,000 checked credentials are cached"},
	{"api-user-reads", "api.user_reads", "a user may make 5,000 reads a second, and twice as many at once"},
	{"api-user-changes", "api.user_changes", "a user may make 200 changes a second, and twice as many at once"},
	{"one-timeout", "one.timeout", "a call to oned may take 30s"},
	{"retry-for", "worker.retry_for", "temporary errors of oned are retried for 2m"},
	{"scan-interval", "worker.scan_interval", "all services are checked every four times worker.look_again"},
	{"ready-deadline", "worker.ready_deadline", "worker.deadlines replaces it, as ready=10m"},
	{"prolog-deadline", "worker.prolog_deadline", "worker.deadlines replaces it, as prolog=1h"},
	{"boot-deadline", "worker.boot_deadline", "worker.deadlines replaces it, as boot=10m"},
	{"shutdown-deadline", "worker.shutdown_deadline", "worker.deadlines replaces it, as shutdown=10m"},
	{"epilog-deadline", "worker.epilog_deadline", "worker.deadlines replaces it, as epilog=1h"},
	{"leader-change-deadline", "worker.leader_change_deadline", "worker.deadlines replaces it, as leader-change=45s"},
	{"other-deadline", "worker.other_deadline", "it is 2h"},
	{"network-deadline", "worker.network_deadline", "it is 10m"},
	{"max-calls", "worker.max_calls", "it is 10; one.connections limits the load on oned"},
	{"vm-deadlines", "worker.vm_deadlines", "worker.deadlines has those of VMs, too"},
	{"nats-cluster", "nats.cluster", "a server with nats.routes is in the cluster flowjet, or in the one that nats.server_file names (cluster { name: ... })"},
	{"nats-sync-always", "nats.sync_always", "the embedded server always does; a sync_interval in nats.server_file has it write later"},
	{"nats-credentials-file", "nats.credentials_file", "nats.nkey_file takes credentials, too"},
	{"nats-key-file", "nats.key_file", "nats.certificate_file has both the certificate and its key"},
	{"sim-xmlrpc-listen", "sim.xmlrpc_listen", "sim.listen replaces it"},
	{"sim-hooks-listen", "sim.hooks_listen", "sim.listen replaces it"},
	{"sim-control-listen", "sim.control_listen", "sim.listen replaces it"},
	{"sim-others", "sim.others", "sim.listen replaces it"},
	{"sim-call-delay", "sim.call_delay", "the simulator's control API sets it: POST /delays"},
	{"sim-auth-file", "sim.auth_file", "the credentials are in the data folder, in simulated-oneflow_auth"},
	{"sim-auth-driver-time", "sim.auth_driver_time", "sim.time_percent replaces it"},
	{"sim-election-time", "sim.election_time", "sim.time_percent replaces it"},
	{"trace-sample-percent", "trace.sample_percent", "OpenTelemetry's own variables replace it: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG"},
	{"trace-otlp-endpoint", "trace.otlp_endpoint", "OpenTelemetry's own variable replaces it: OTEL_EXPORTER_OTLP_ENDPOINT"},
	{"bridge-objects", "bridge.objects", "bridge.events replaces it"},
	{"bridge-states", "bridge.states", "bridge.events replaces it"},
	{"bridge-calls", "bridge.calls", "bridge.events replaces it"},
	{"bridge-queue-mib", "bridge.queue_mib", "it is 48 MiB; further events go to disk"},
	{"bridge-spill-mib", "bridge.spill_mib", "it is 1 GiB"},
	{"bridge-standby", "bridge.standby", "it is 1s"},
	{"bridge-keep", "bridge.keep", "it is 30s"},
	{"bridge-quiet", "bridge.quiet", "it is 30s"},
	{"bridge-resync-interval", "bridge.resync_interval", "it is 5m"},
	{"bridge-resync-page", "bridge.resync_page", "it is 1,000 VMs"},
}

func (o formerOption) refusal(name string) string {
	return fmt.Sprintf("%s can no longer be set: %s; remove it", name, o.instead)
}

// Former returns why a flag, or the key of a configuration file, is refused; empty if it never existed.
func Former(name string) string {
	for _, o := range formerOptions {
		switch name {
		case o.key:
			return o.refusal(name)
		case o.flag:
			return o.refusal("--" + name)
		}
	}
	return ""
}
