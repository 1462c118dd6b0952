package app

import (
	"fmt"
	"os"
)

// formerOption is an option of an earlier version.
type formerOption struct {
	flag, key string
	// instead is the fixed value, or the option that replaces it.
	instead string
}

// formerOptions are refused with their replacement: ignoring them would hide that they have no
// effect.
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

// formerKey returns why the key of a configuration file is refused; empty where it never was one.
func formerKey(key string) string {
	for _, o := range formerOptions {
		if o.key == key {
			return o.refusal(key)
		}
	}
	return ""
}

// FormerFlag returns why a flag is refused; empty where it never was one.
func FormerFlag(name string) string {
	for _, o := range formerOptions {
		if o.flag == name {
			return o.refusal("--" + name)
		}
	}
	return ""
}

// formerVariables are the variables that are set and cannot be any more.
func formerVariables() problems {
	var found problems
	for _, o := range formerOptions {
		if _, is := os.LookupEnv(envName(o.flag)); is {
			found = append(found, problem{where: envName(o.flag), what: o.refusal(envName(o.flag))})
		}
	}
	return found
}
