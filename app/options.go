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
	{"api-certificate-file", "api.certificate_file", "PEM certificate of the OneFlow API; with it the API speaks TLS", ""},
	{"api-key-file", "api.key_file", "PEM key that belongs to the certificate", ""},
	{"api-action-number", "api.action_number", "how many VMs at a time an action on a role or service is for, where the request does not say", 1},
	{"api-action-period", "api.action_period", "how far apart these are", time.Minute},
	{"api-vm-link", "api.vm_link", "address of a VM in Sunstone, with {id} for its number, to which the live page links: https://sunstone.example.com/fireedge/sunstone/vm/{id}; empty for none", ""},
	{"api-service-log-dir", "api.service_log_dir", "folder for a log file of each service, <id>.log, as OneFlow's /var/log/one/oneflow, which onelog reads; empty for none", ""},
	{"nats-listen", "nats.listen", "host:port of the embedded NATS server", "127.0.0.1:4222"},
	{"nats-url", "nats.url", "external NATS servers to use instead of the embedded one, comma separated", ""},
	{"nats-replicas", "nats.replicas", "copies of each stream; more than 1 needs an external cluster", 1},
	{"nats-sync-always", "nats.sync_always", "have the embedded server write each message to disk before it acknowledges it", true},
	{"nats-name", "nats.name", "name of the embedded server, its own in a cluster", "flowjet"},
	{"nats-cluster", "nats.cluster", "name of the cluster that the embedded server joins; empty for a server alone", ""},
	{"nats-cluster-listen", "nats.cluster_listen", "host:port of the embedded server for the others of its cluster", "127.0.0.1:6222"},
	{"nats-routes", "nats.routes", "cluster addresses of the others, nats://host:port, comma separated", []string(nil)},
	{"nats-server-file", "nats.server_file", "nats-server configuration file with what the embedded server is to have besides: accounts, users, TLS", ""},
	{"nats-credentials-file", "nats.credentials_file", "credentials (JWT and seed) with which this process connects to NATS; {role} stands for bridge, worker, api, flowjet (up) or operator", ""},
	{"nats-nkey-file", "nats.nkey_file", "nkey seed with which this process connects to NATS; {role} stands for bridge, worker, api, flowjet (up) or operator", ""},
	{"nats-ca-file", "nats.ca_file", "PEM certificates of who may have signed the NATS servers'; with it the connection is TLS", ""},
	{"nats-certificate-file", "nats.certificate_file", "PEM certificate that this process shows to NATS", ""},
	{"nats-key-file", "nats.key_file", "PEM key that belongs to it", ""},
	{"nats-provision", "nats.provision", "have a start make the streams that are missing; false where only an operator may, with `flowjet nats provision`", true},
	{"one-xmlrpc", "one.xmlrpc", "oned's XML-RPC endpoint; of a zone with several, any one of them (the zone lists the others) or all that are to be used", []string{"http://127.0.0.1:2633/RPC2"}},
	{"one-hooks", "one.hooks", "oned's hook-event endpoints, tcp://host:2101, one a front-end; without any, port 2101 of each server of the zone", []string(nil)},
	{"one-auth-file", "one.auth_file", "file with serveradmin:password", "/var/lib/one/.one/oneflow_auth"},
	{"one-connections", "one.connections", "connections to each oned that all of Flowjet's processes hold together at most; oned serves 15, for everybody and for the other servers of its zone", 8},
	{"default-cooldown", "worker.default_cooldown", "how long a service waits after scaling where its role does not say", 300 * time.Second},
	{"shutdown-action", "worker.shutdown_action", "what ends a VM where neither role nor service says: terminate or terminate-hard", "terminate"},
	{"vm-name-template", "worker.vm_name_template", "names of VMs; $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER are filled in", "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)"},
	{"vr-name-template", "worker.vr_name_template", "names of virtual routers; $SERVICE_ID, $SERVICE_NAME and $ROLE_NAME are filled in", "$ROLE_NAME(service_$SERVICE_ID)"},
	{"look-again", "worker.look_again", "after how long a waiting service is looked at again although nothing was heard", 30 * time.Second},
	{"autoscaler-interval", "worker.autoscaler_interval", "how often the VMs of services with elasticity policies are measured; roles below their min_vms are filled up after as long", 90 * time.Second},
	{"deadlines", "worker.deadlines", "for how long services may wait that do not say, in seconds: pending=600 (no host takes a VM), deploying=, scaling=, undeploying=; then=fail, shrink or undeploy. Without, for any length", []string(nil)},
	{"vm-deadlines", "worker.vm_deadlines", "for how long a VM may stay in a state that it should leave by itself, where not as long as usual: ready= (any length), prolog= (1h), boot= (10m), shutdown= (10m), epilog= (1h), leader-change= (45s); docs/services.md says what happens then", []string(nil)},
	{"max-calls", "worker.max_calls", "how many calls to oned a worker makes at once", 10},
	{"webhooks-file", "webhooks.file", "YAML file that says which webhooks are told what happens to services; empty for none", ""},
	{"sim", "sim.enabled", "start a simulated OpenNebula and use it", false},
	{"sim-xmlrpc-listen", "sim.xmlrpc_listen", "host:port of the simulated oned", "127.0.0.1:2633"},
	{"sim-hooks-listen", "sim.hooks_listen", "host:port of the simulated hook events", "127.0.0.1:2101"},
	{"sim-others", "sim.others", "host:port,host:port of XML-RPC and hook events, in turn, of the simulated zone's further servers", []string(nil)},
	{"sim-control-listen", "sim.control_listen", "host:port of the simulator's control API", "127.0.0.1:2634"},
	{"sim-boot-delay", "sim.boot_delay", "how long each step of a simulated VM takes", 2 * time.Millisecond},
	{"sim-call-delay", "sim.call_delay", "how long each call to the simulated oned takes", time.Duration(0)},
	{"sim-time-percent", "sim.time_percent", "how long the simulated OpenNebula takes, in percent of a real one, for a run of the authentication driver (300ms), for an election (5s), until the scheduler places VMs (10s, or seven VMs), and to catch up after a restart (10s)", 5},
	{"sim-auth-file", "sim.auth_file", "file that the simulator writes serveradmin's name and password to, for other processes", ""},
	{"status-listen", "status.listen", "host:port for /metrics and /health, without a password, and for /debug/pprof, over loopback only; empty for none", ""},
	{"log-level", "log.level", "debug, info (with every request), warn or error", "warn"},
	{"log-format", "log.format", "text, json, journal (text without times and with journald's priorities) or auto: journal under systemd, else text", "auto"},
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
