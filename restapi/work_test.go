package restapi

import (
	"encoding/json"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func TestWorkIsToldToAdministrators(t *testing.T) {
	w := newWorld(t, Config{})
	w.expect(alice, "GET", "/flowjet/v1/work", "", 403, "oneadmin")
	look := func() workView {
		var view workView
		w.must(json.Unmarshal([]byte(w.expect(admin, "GET", "/flowjet/v1/work", "", 200, "").body), &view))
		return view
	}
	w.service(alice)
	before := look()
	if len(before.Workers) != 0 || before.Router != "" || len(before.Partitions) != pipeline.Partitions {
		t.Errorf("without a worker: %+v", before)
	}
	waiting := uint64(0)
	for _, partition := range before.Partitions {
		waiting += partition.Waiting
	}
	if waiting != 1 || before.CommandsWaiting != 1 {
		t.Errorf("%d wake-ups and %d commands wait, want the deployment", waiting, before.CommandsWaiting)
	}
	w.whole()
	poll.Until(t, "the worker to be seen with nothing left to do", func() bool {
		view := look()
		for _, partition := range view.Partitions {
			if partition.Worker != "worker" || partition.Waiting != 0 {
				return false
			}
		}
		return len(view.Workers) == 1 && view.Router == "worker" && view.CommandsWaiting == 0
	})
}

// TestAMissingRight is 403 under /flowjet/v1, where 401 is for credentials, and 401 for
// OneFlow's clients, whatever call oned refuses.
func TestAMissingRight(t *testing.T) {
	w := newWorld(t, Config{})
	w.worker(accept)
	mine, others := w.service(alice), w.service(admin)
	give := perform("chown", `{"owner_id":0}`)
	for prefix, status := range map[string]int{"/flowjet/v1": 403, "": 401} {
		w.expect(alice, "GET", prefix+others, "", status, "")
		w.expect(alice, "DELETE", prefix+others, "", status, "")
		w.expect(alice, "POST", prefix+others+"/scale", `{"role_name":"r0","cardinality":1}`, status, "")
		w.expect(alice, "POST", prefix+others+"/action", perform("chmod", `{"octet":"777"}`), status, "")
		w.expect(alice, "POST", prefix+others+"/action", perform("reboot", `{}`), status, "")
		w.expect(alice, "POST", prefix+mine+"/action", give, status, "oned refused")
	}
}
