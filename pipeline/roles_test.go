package pipeline

import (
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/natstest"
)

// connectAs returns a connection for each role to a NATS server whose users have the roles' permissions.
func connectAs(t *testing.T) map[Role]*nats.Conn {
	t.Helper()
	node := natstest.NewNode(t, func(o *server.Options) {
		for _, role := range Roles {
			allowed := role.Permissions()
			o.Users = append(o.Users, &server.User{Username: string(role), Password: "geheim", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: allowed.Publish}, Subscribe: &server.SubjectPermission{Allow: allowed.Subscribe},
			}})
		}
	})
	conns := map[Role]*nats.Conn{}
	for _, role := range Roles {
		conn, err := nats.Connect(node.URL(), nats.UserInfo(string(role), "geheim"), nats.CustomInboxPrefix(role.InboxPrefix()),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // what is refused is asked for below
		must(t, err)
		t.Cleanup(conn.Close)
		conns[role] = conn
	}
	return conns
}

// allowed reports whether the server has taken what was sent last: it reports a refusal before it answers the flush.
func allowed(t *testing.T, conn *nats.Conn) bool {
	t.Helper()
	must(t, conn.Flush())
	return !errors.Is(conn.LastError(), nats.ErrPermissionViolation)
}

// fresh connects again: a connection keeps its last error.
func fresh(t *testing.T, conn *nats.Conn) *nats.Conn {
	t.Helper()
	again, err := conn.Opts.Connect()
	must(t, err)
	t.Cleanup(again.Close)
	return again
}

var (
	everybody = Roles
	parts     = []Role{RoleBridge, RoleWorker, RoleAPI, RoleAll, RoleOperator}
	onBridges = []Role{RoleBridge, RoleAll, RoleOperator}
	onWorkers = []Role{RoleWorker, RoleAll, RoleOperator}
	ofClients = []Role{RoleWorker, RoleAPI, RoleAll, RoleOperator}
	onlyMaker = []Role{RoleAll, RoleOperator}
	operators = []Role{RoleOperator}
	readsAll  = []Role{RoleWorker, RoleAPI, RoleAll, RoleOperator, RoleReader}
)

// Whoever has a role's credentials, a stranger too, publishes what the role's part has to, and nothing else: the real server decides.
func TestWhatEachRoleMayPublish(t *testing.T) {
	conns := connectAs(t)
	for subject, want := range map[string][]Role{
		VMSubject(0, 21, "ACTIVE", "RUNNING"):      onBridges,
		CallSubject(0, "one.vm.update", true):      onBridges,
		LeaseSubject("fe1"):                        onBridges,
		BridgeSubject("fe1"):                       onBridges,
		DeadSubject("bridge"):                      onBridges,
		WorkSubject(42):                            ofClients,
		StoredWorkSubject(42):                      operators, // the stream alone puts the partition into a subject
		TimerSubject(42, "look"):                   onWorkers,
		TransitionSubject(Transition{Service: 42}): onWorkers,
		HookSubject("ops", 42):                     onWorkers,
		DeadSubject("worker"):                      onWorkers,
		DeadSubject("webhook"):                     onWorkers,
		DeadSubject("events"):                      onWorkers,
		WorkerSubject("fe1"):                       onWorkers,
		ProcessSubject("fe1"):                      parts,

		KeySubject(BucketState, "42"):             onWorkers,
		KeySubject(BucketOwners, "vm-21"):         onWorkers,
		KeySubject(BucketHooks, "ops.42"):         onWorkers,
		KeySubject(BucketCommands, "c1"):          ofClients,
		KeySubject(BucketCheckpoint, RouterKey):   onWorkers,
		KeySubject(BucketCheckpoint, ComparedKey): {RoleBridge, RoleWorker, RoleAll, RoleOperator},
		KeySubject(BucketCheckpoint, stampKey):    onWorkers,

		"$JS.API.STREAM.INFO.FLOW":                       everybody,
		"$JS.API.STREAM.CREATE.WORK":                     onlyMaker,
		"$JS.API.STREAM.UPDATE.KV_FLOW_STATE":            onlyMaker,
		"$JS.API.STREAM.DELETE.WORK":                     operators,
		"$JS.API.STREAM.PURGE.WORK":                      onWorkers, // a timer is cancelled
		"$JS.API.STREAM.PURGE.FLOW":                      operators,
		"$JS.API.STREAM.PURGE.KV_FLOW_STATE":             operators,
		"$JS.API.STREAM.MSG.DELETE.HOOK":                 onWorkers,
		"$JS.API.STREAM.MSG.DELETE.DLQ":                  operators,
		"$JS.API.STREAM.MSG.GET.ONE":                     everybody,
		"$JS.API.STREAM.MSG.GET.WORK":                    readsAll,
		"$JS.API.STREAM.MSG.GET.HOOK":                    {RoleWorker, RoleAll, RoleOperator, RoleReader},
		"$JS.API.STREAM.MSG.GET.DLQ":                     {RoleAPI, RoleAll, RoleOperator, RoleReader},
		"$JS.API.DIRECT.GET.FLOW.flow.event.1.service.X": readsAll,
		"$JS.API.CONSUMER.CREATE.ONE.c1":                 parts,
		"$JS.API.CONSUMER.CREATE.FLOW.c1":                ofClients,
		"$JS.API.CONSUMER.CREATE.DLQ.c1":                 {RoleAPI, RoleAll, RoleOperator},
		"$JS.API.SERVER.REMOVE":                          operators,

		RoleAPI.InboxPrefix() + ".x.1":    {RoleWorker, RoleAll}, // replies to commands
		RoleAll.InboxPrefix() + ".x.1":    {RoleWorker, RoleAll},
		RoleWorker.InboxPrefix() + ".x.1": nil,
		"_INBOX.x.1":                      nil,
		"somebody.elses":                  nil,
		"$SYS.REQ.SERVER.PING":            nil,
	} {
		for role, conn := range conns {
			conn = fresh(t, conn)
			must(t, conn.Publish(subject, nil))
			if may := allowed(t, conn); may != slices.Contains(want, role) {
				t.Errorf("%s may publish on %s: %v", role, subject, may)
			}
			conn.Close()
		}
	}
}

// Nobody listens to what is another's: least of all to the answers that others are sent.
func TestWhatEachRoleMayListenTo(t *testing.T) {
	conns := connectAs(t)
	listens := []Role{RoleAPI, RoleAll, RoleOperator, RoleReader}
	for subject, want := range map[string][]Role{
		SubjectsONE:                          {RoleAll, RoleOperator, RoleReader},
		SubjectsFlow:                         listens,
		SubjectsDead:                         {RoleAll, RoleOperator, RoleReader},
		SubjectsWork:                         {RoleOperator, RoleReader},
		SubjectsHook:                         {RoleOperator, RoleReader},
		SubjectsWorker:                       readsAll,
		SubjectsBridge:                       append([]Role{RoleBridge}, listens...),
		SubjectsProcess:                      everybody,
		keys(BucketState):                    {RoleOperator, RoleReader},
		RoleBridge.InboxPrefix() + ".>":      {RoleBridge, RoleOperator},
		RoleWorker.InboxPrefix() + ".>":      {RoleWorker, RoleOperator},
		RoleAPI.InboxPrefix() + ".>":         {RoleAPI, RoleOperator},
		RoleAll.InboxPrefix() + ".>":         {RoleAll, RoleOperator},
		RoleReader.InboxPrefix() + ".>":      {RoleReader, RoleOperator},
		"_INBOX.>":                           operators,
		"$JS.EVENT.>":                        operators,
		"$JS.API.>":                          nil,
		"$SYS.>":                             nil,
		">":                                  nil,
		"somebody.elses":                     nil,
		"flow.>":                             {RoleOperator, RoleReader},
		TransitionSubjects(42):               listens,
		WorkerSubject("fe1"):                 readsAll,
		DeadSubject("bridge"):                {RoleAll, RoleOperator, RoleReader},
		KeySubject(BucketCommands, "secret"): {RoleOperator, RoleReader},
	} {
		for role, conn := range conns {
			conn = fresh(t, conn)
			_, err := conn.SubscribeSync(subject)
			must(t, err)
			if may := allowed(t, conn); may != slices.Contains(want, role) {
				t.Errorf("%s may listen to %s: %v", role, subject, may)
			}
			conn.Close()
		}
	}
}
