package opennebula_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// simulated is a simulated OpenNebula with a client to it.
func simulated(t *testing.T) (*sim.Sim, *opennebula.Client) {
	t.Helper()
	oned, err := sim.New(sim.Config{BootDelay: sim.NoDelay})
	must(t, err)
	must(t, oned.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, oned.Stop(ctx))
	})
	credentials, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(t, err)
	client := opennebula.NewClient(opennebula.Config{Endpoint: oned.Endpoint(), Credentials: credentials})
	t.Cleanup(client.Close)
	return oned, client
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAWholeConversation(t *testing.T) {
	_, client := simulated(t)
	ctx := t.Context()
	alice := client.For("alice")
	own, err := client.With("alice", "alice").User(ctx, -1)
	must(t, err)
	user, err := alice.User(ctx, -1)
	must(t, err)
	if user.Identity != own.Identity || user.Identity.UName != "alice" || user.EffectiveGID != user.Identity.GID || !user.Enabled {
		t.Fatalf("alice is %+v, and %+v by her own session", user, own)
	}
	if _, err := client.With("alice", "wrong").User(ctx, -1); !opennebula.IsCode(err, opennebula.CodeAuthentication) {
		t.Fatalf("a wrong password: %v", err)
	}
	version, err := client.Server().Version(ctx)
	must(t, err)
	if !strings.HasPrefix(version, "7.") {
		t.Errorf("version %q", version)
	}
	documents(t, alice)
	vms(t, client)
}

func documents(t *testing.T, session *opennebula.Session) {
	t.Helper()
	ctx := t.Context()
	id, err := session.AllocateDocument(ctx, spec.DocumentTypeService, "first", []byte(`{"name":"]]> <&"}`))
	must(t, err)
	must(t, session.UpdateDocument(ctx, id, []byte(`{"name":"two ]]>"}`)))
	must(t, session.RenameDocument(ctx, id, "second"))
	must(t, session.ChmodDocument(ctx, id, "640"))
	second, err := session.AllocateDocument(ctx, spec.DocumentTypeService, "third", nil)
	must(t, err)
	document, err := session.Document(ctx, id)
	must(t, err)
	var body struct{ Name string }
	must(t, json.Unmarshal(document.Body, &body))
	if body.Name != "two ]]>" || document.Name != "second" || document.Owner.UName != "alice" || document.Type != spec.DocumentTypeService {
		t.Errorf("document %+v with body %s", document, document.Body)
	}
	if want := (opennebula.Permissions{OwnerU: 1, OwnerM: 1, GroupU: 1}); document.Permissions != want {
		t.Errorf("permissions %+v", document.Permissions)
	}
	list, err := session.Documents(ctx, spec.DocumentTypeService, opennebula.FilterAll)
	must(t, err)
	if len(list) != 2 {
		t.Errorf("%d documents", len(list))
	}
	must(t, session.DeleteDocument(ctx, id))
	must(t, session.DeleteDocument(ctx, second))
	if _, err := session.Document(ctx, id); !opennebula.IsCode(err, opennebula.CodeNoExists) {
		t.Errorf("a deleted document: %v", err)
	}
}

func vms(t *testing.T, client *opennebula.Client) {
	t.Helper()
	ctx := t.Context()
	session := client.For("oneadmin")
	template, err := session.VMTemplate(ctx, 0)
	must(t, err)
	if template.Name != "alpine" || !strings.Contains(string(template.Template), "<MEMORY>") {
		t.Errorf("template %+v", template)
	}
	extra := "SERVICE_ID = \"42\"\nROLE_NAME = \"web\"\nFLOWJET_KEY = \"42-web-0\"\n"
	id, err := session.InstantiateTemplate(ctx, 0, "web_0", false, extra)
	must(t, err)
	running := func(id int) bool {
		vm, err := session.VM(ctx, id)
		must(t, err)
		return vm.Running()
	}
	poll.Until(t, "the VM to run", func() bool { return running(id) })
	must(t, session.UpdateVM(ctx, id, "READY=YES", true))
	listed, err := client.Server().VMs(ctx, opennebula.FilterAll, 0, 1000, opennebula.StateNotDone)
	must(t, err)
	vm, err := session.VM(ctx, id)
	must(t, err)
	if len(listed) != 1 || listed[0] != vm || !vm.Ready || vm.Service != 42 || vm.Role != "web" || vm.Key != "42-web-0" || vm.Name != "web_0" {
		t.Errorf("VM %+v, listed as %+v", vm, listed)
	}
	must(t, session.ActOnVM(ctx, "terminate-hard", id))
	poll.Until(t, "the VM to end", func() bool {
		listed, err := client.Server().VMs(ctx, opennebula.FilterAll, -1, -1, opennebula.StateNotDone)
		must(t, err)
		return len(listed) == 0
	})
	if err := session.ActOnVM(ctx, "resume", id); !opennebula.IsCode(err, opennebula.CodeAction) {
		t.Errorf("resuming a VM that is DONE: %v", err)
	}
}

func TestAnAnswerThatIsDroppedLeavesDoubt(t *testing.T) {
	oned, client := simulated(t)
	must(t, oned.DropAnswer("one.template.instantiate", 1))
	_, err := client.For("oneadmin").InstantiateTemplate(t.Context(), 0, "web", true, "FLOWJET_KEY=\"k\"")
	if !opennebula.Ambiguous(err) {
		t.Fatalf("got %v", err)
	}
	found, err := client.Server().VMs(t.Context(), opennebula.FilterAll, -1, -1, opennebula.StateAny)
	must(t, err)
	if len(found) != 1 || found[0].Key != "k" {
		t.Errorf("the call that was carried out left %+v", found)
	}
}

func TestAServerThatDoesNotLeadIsTemporary(t *testing.T) {
	oned, client := simulated(t)
	oned.LoseLeadership()
	_, err := client.For("oneadmin").InstantiateTemplate(t.Context(), 0, "web", true, "")
	if !opennebula.IsCode(err, opennebula.CodeInternal) || !opennebula.Temporary(err) {
		t.Fatalf("got %v", err)
	}
}

// Details asks once for ids that are close together, and returns no others.
func TestDetailsOfManyVMs(t *testing.T) {
	one, client := simulated(t)
	ids := make([]int, 0, 6)
	for range 6 {
		id, err := client.Server().InstantiateTemplate(t.Context(), 0, "vm", false, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	before := one.CallCounts()["one.vmpool.infoextended"]
	found, err := client.Server().Details(t.Context(), []int{ids[4], ids[0], ids[0], 1_000_000})
	if err != nil || len(found) != 2 || found[ids[4]].ID != ids[4] || found[ids[0]].Name == "" {
		t.Errorf("got %+v, %v", found, err)
	}
	if calls := one.CallCounts()["one.vmpool.infoextended"] - before; calls != 2 {
		t.Errorf("%d calls, want one for the VMs and one for the stranger", calls)
	}
}
