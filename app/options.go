package app

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// option is one thing that can be set: by --flag, by FLOWJET_FLAG, or under its
// key in the configuration file; the flag wins over the environment, the
// environment over the file.
type option struct {
	flag, key, usage string
	standard         any
}

// standardDataDir is the data folder unless another one is set.
const standardDataDir = "./flowjet-data"

var options = slices.Concat(commonOptions, bridgeOptions)

var commonOptions = []option{
	{"data-dir", "data_dir", "folder for JetStream's files and the simulator's state", standardDataDir},
	{"zone", "zone", "id of the OpenNebula zone", 0},
	{"api-listen", "api.listen", "host:port of the OneFlow API", "127.0.0.1:2474"},
	{"api-certificate-file", "api.certificate_file", "PEM certificate of the OneFlow API; enables TLS", ""},
	{"api-key-file", "api.key_file", "PEM key of that certificate", ""},
	{"api-action-number", "api.action_number", "VMs in each batch of a role or service action, if the request does not say", 1},
	{"api-action-period", "api.action_period", "time between two batches", time.Minute},
	{"api-vm-link", "api.vm_link", "URL of a VM in Sunstone for links on the live page, with {id} for the VM's id: https://sunstone.example.com/fireedge/sunstone/vm/{id}; empty for none", ""},
	{"api-service-log-dir", "api.service_log_dir", "folder for a log file per service, <id>.log, in the format of OneFlow's /var/log/one/oneflow, for onelog; empty for none", ""},
	{"nats-listen", "nats.listen", "host:port of the embedded NATS server", "127.0.0.1:4222"},
	{"nats-url", "nats.url", "external NATS servers to use instead of the embedded one, comma separated", ""},
	{"nats-replicas", "nats.replicas", "replicas of each stream; more than 1 needs an external cluster", 1},
	{"nats-sync-always", "nats.sync_always", "the embedded server writes each message to disk before it acknowledges it", true},
	{"nats-name", "nats.name", "name of the embedded server, unique in its cluster", "flowjet"},
	{"nats-cluster", "nats.cluster", "name of the cluster that the embedded server joins; empty for a single server", ""},
	{"nats-cluster-listen", "nats.cluster_listen", "host:port of the embedded server for the other servers of its cluster", "127.0.0.1:6222"},
	{"nats-routes", "nats.routes", "cluster addresses of the other servers, nats://host:port, comma separated", []string(nil)},
	{"nats-server-file", "nats.server_file", "nats-server configuration file with further settings of the embedded server: accounts, users, TLS", ""},
	{"nats-credentials-file", "nats.credentials_file", "credentials file (JWT and seed) for the connection to NATS; {role} is replaced by bridge, worker, api, flowjet (up) or operator", ""},
	{"nats-nkey-file", "nats.nkey_file", "file with the nkey seed for the connection to NATS; {role} is replaced by bridge, worker, api, flowjet (up) or operator", ""},
	{"nats-ca-file", "nats.ca_file", "PEM certificates of the authorities that sign the NATS servers' certificates; enables TLS", ""},
	{"nats-certificate-file", "nats.certificate_file", "PEM client certificate for the connection to NATS", ""},
	{"nats-key-file", "nats.key_file", "PEM key of that certificate", ""},
	{"nats-provision", "nats.provision", "create missing streams at startup; false if only an operator may, with `flowjet nats provision`", true},
	{"one-xmlrpc", "one.xmlrpc", "oned's XML-RPC endpoint; in a zone of several servers, any one of them (the zone lists the others) or all that Flowjet should use", []string{"http://127.0.0.1:2633/RPC2"}},
	{"one-hooks", "one.hooks", "oned's hook-event endpoints, tcp://host:2101, one per front-end; if empty, port 2101 of each server of the zone", []string(nil)},
	{"one-auth-file", "one.auth_file", "file with serveradmin:password", "/var/lib/one/.one/oneflow_auth"},
	{"one-connections", "one.connections", "maximum number of connections to each oned, shared by all Flowjet processes; oned serves 15 to all clients and the other servers of its zone", 8},
	{"default-cooldown", "worker.default_cooldown", "cooldown after scaling, if the role does not set one", 300 * time.Second},
	{"shutdown-action", "worker.shutdown_action", "how VMs are terminated, if neither the role nor the service says: terminate or terminate-hard", "terminate"},
	{"vm-name-template", "worker.vm_name_template", "names of VMs; $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER are replaced", "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)"},
	{"vr-name-template", "worker.vr_name_template", "names of virtual routers; $SERVICE_ID, $SERVICE_NAME and $ROLE_NAME are replaced", "$ROLE_NAME(service_$SERVICE_ID)"},
	{"look-again", "worker.look_again", "time without events after which a waiting service is checked again", 30 * time.Second},
	{"autoscaler-interval", "worker.autoscaler_interval", "how often the VMs of services with elasticity policies are measured; also the time after which roles below their min_vms are filled up", 90 * time.Second},
	{"deadlines", "worker.deadlines", "default deadlines of services, in seconds: pending=600 (no host for a VM), deploying=, scaling=, undeploying=; then=fail, shrink or undeploy. Without a value there is no deadline", []string(nil)},
	{"vm-deadlines", "worker.vm_deadlines", "how long a VM may stay in a state that it should leave by itself: ready= (default none), prolog= (1h), boot= (10m), shutdown= (10m), epilog= (1h), leader-change= (45s); docs/services.md has the consequences", []string(nil)},
	{"max-calls", "worker.max_calls", "maximum concurrent calls of a worker to oned", 10},
	{"webhooks-file", "webhooks.file", "YAML file that configures webhooks; empty for none", ""},
	{"sim", "sim.enabled", "start a simulated OpenNebula and use it", false},
	{"sim-xmlrpc-listen", "sim.xmlrpc_listen", "host:port of the simulated oned", "127.0.0.1:2633"},
	{"sim-hooks-listen", "sim.hooks_listen", "host:port of the simulated hook events", "127.0.0.1:2101"},
	{"sim-others", "sim.others", "host:port,host:port of XML-RPC and hook events, alternating, for each further server of the simulated zone", []string(nil)},
	{"sim-control-listen", "sim.control_listen", "host:port of the simulator's control API", "127.0.0.1:2634"},
	{"sim-boot-delay", "sim.boot_delay", "duration of each step of a simulated VM", 2 * time.Millisecond},
	{"sim-call-delay", "sim.call_delay", "duration of each call to the simulated oned", time.Duration(0)},
	{"sim-time-percent", "sim.time_percent", "duration of slow operations of the simulated OpenNebula, in percent of a real one's: a run of the authentication driver (300ms), an election (5s), the wait for the scheduler (10s, or seven VMs), the recovery after a restart (10s)", 5},
	{"sim-auth-file", "sim.auth_file", "file to which the simulator writes serveradmin's name and password, for other processes", ""},
	{"status-listen", "status.listen", "host:port for /metrics and /health without a password, and for /debug/pprof over loopback only; empty for none", ""},
	{"log-level", "log.level", "debug, info (with every request), warn or error", "warn"},
	{"log-format", "log.format", "text, json, journal (text without times, with journald's priorities) or auto: journal under systemd, else text", "auto"},
}

// looking are the options by which those who only look find everything, and running those
// that most who run Flowjet set. Help shows no more of them with a command.
var (
	looking = []string{"data-dir", "zone", "api-listen", "nats-url", "nats-nkey-file", "nats-credentials-file", "nats-ca-file", "one-xmlrpc", "one-auth-file"}
	running = append([]string{"api-certificate-file", "api-key-file", "nats-listen", "one-hooks", "webhooks-file", "sim", "status-listen", "log-level"}, looking...)
)

// AddLookFlags is AddFlags for commands that only look.
func AddLookFlags(flags *pflag.FlagSet) { addShown(flags, looking) }

// AddRunFlags is AddFlags for commands that run parts or prepare it.
func AddRunFlags(flags *pflag.FlagSet) { addShown(flags, running) }

// addShown defines a flag for every option and hides those that few need: DescribeOptions lists them.
func addShown(flags *pflag.FlagSet, shown []string) {
	AddFlags(flags)
	for _, o := range options {
		if !slices.Contains(shown, o.flag) {
			_ = flags.MarkHidden(o.flag) // it was defined just now
		}
	}
}

// DescribeOptions lists every option by what it belongs to, in lines of at most so many characters.
func DescribeOptions(width int) string {
	var text strings.Builder
	var groups []string
	members := map[string][]option{}
	for _, o := range options {
		group, _, nested := strings.Cut(o.key, ".")
		if !nested {
			group = "all"
		}
		if members[group] == nil {
			groups = append(groups, group)
		}
		members[group] = append(members[group], o)
	}
	for _, group := range groups {
		flags := pflag.NewFlagSet(group, pflag.ContinueOnError)
		flags.SortFlags = false
		addOptions(flags, members[group])
		text.WriteString(group + ":\n" + flags.FlagUsagesWrapped(width) + "\n")
	}
	return text.String()
}

// AddFlags defines a flag for every option.
func AddFlags(flags *pflag.FlagSet) { addOptions(flags, options) }

func addOptions(flags *pflag.FlagSet, options []option) {
	for _, o := range options {
		// pflag takes what stands in backquotes for the name of the value.
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
