package restapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/changes"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// calmOned has one template and one service, and does whatever it is asked. It has every method itself: one that an
// embedded nil answered would be a call that fails inside, in the middle of a run.
type calmOned struct{}

func (c calmOned) server() session                     { return c }
func (c calmOned) as(string, opennebula.Guard) session { return c }

func (c calmOned) confirmed(string) session { return c }

func (calmOned) authenticate(context.Context, string, string) (opennebula.User, time.Time, error) {
	return opennebula.User{Identity: one.Identity{UName: "oneadmin"}}, time.Time{}, nil
}

// templateID is a template; any other document is a service.
const templateID = 1

func (calmOned) Document(_ context.Context, id int) (opennebula.Document, error) {
	if id == templateID {
		return opennebula.Document{ID: id, Type: spec.DocumentTypeServiceTemplate, Body: []byte(twoRoles)}, nil
	}
	body := `{"name":"svc","state":2,"roles":[{"name":"Master","type":"vm","template_id":0,"cardinality":1,"state":2,"nodes":[{"deploy_id":5}]}]}`
	return opennebula.Document{ID: id, Type: spec.DocumentTypeService, Body: []byte(body)}, nil
}

func (calmOned) VM(_ context.Context, id int) (one.VM, error) {
	return one.VM{ID: id, State: one.VMActive, LCMState: one.LCMRunning, Service: 2, Role: "Master"}, nil
}

func (calmOned) Version(context.Context) (string, error) { return "7.4.0", nil }
func (calmOned) User(_ context.Context, id int) (opennebula.User, error) {
	return opennebula.User{Identity: one.Identity{UName: "oneadmin"}}, nil
}

func (calmOned) Users(context.Context) ([]opennebula.PoolEntry, error) {
	return []opennebula.PoolEntry{{ID: 2, Name: "alice"}}, nil
}

func (calmOned) Groups(context.Context) ([]opennebula.PoolEntry, error) {
	return []opennebula.PoolEntry{{ID: 100, Name: "staff"}}, nil
}

func (calmOned) VMTemplates(context.Context, int) ([]opennebula.PoolEntry, error) {
	return []opennebula.PoolEntry{{ID: 0, Name: "alpine"}}, nil
}

func (calmOned) Documents(context.Context, int, int) ([]opennebula.Document, error) {
	return nil, nil
}

func (calmOned) Refresh(_ context.Context, state flow.State) (flow.State, flow.Facts, error) {
	return state, flow.Facts{}, nil
}

func (calmOned) ScheduledActions(context.Context, int) ([]opennebula.ScheduledAction, error) {
	return nil, nil
}

func (calmOned) Details(context.Context, []int) (map[int]opennebula.VMDetails, error) {
	return nil, nil
}

func (calmOned) Router(_ context.Context, id int) (opennebula.Router, error) {
	return opennebula.Router{ID: id}, nil
}

func (calmOned) VMTemplate(_ context.Context, id int) (opennebula.VMTemplate, error) {
	return opennebula.VMTemplate{ID: id, Name: "alpine"}, nil
}
func (calmOned) AllocateDocument(context.Context, int, string, []byte) (int, error) {
	return templateID, nil
}
func (calmOned) CloneVMTemplate(context.Context, int, string, bool) (int, error) { return 9, nil }
func (calmOned) UpdateDocument(context.Context, int, []byte) error               { return nil }
func (calmOned) DeleteDocument(context.Context, int) error                       { return nil }
func (calmOned) RenameDocument(context.Context, int, string) error               { return nil }
func (calmOned) ChownDocument(context.Context, int, int, int) error              { return nil }
func (calmOned) MayManage(context.Context, int) error                            { return nil }
func (calmOned) ChmodDocument(context.Context, int, string) error                { return nil }
func (calmOned) ChownRouter(context.Context, int, int, int) error                { return nil }
func (calmOned) ChownVM(context.Context, int, int, int) error                    { return nil }
func (calmOned) UnscheduleAction(context.Context, int, int) error                { return nil }
func (calmOned) DeleteVMTemplate(context.Context, int, bool) error               { return nil }
func (calmOned) ChownNetwork(context.Context, int, int, int) error               { return nil }
func (calmOned) Network(context.Context, int) (opennebula.Network, error) {
	return opennebula.Network{}, nil
}
func (calmOned) ScheduleAction(context.Context, int, string, string, time.Time) (int, error) {
	return 0, nil
}

// calmQueue accepts every command, and knows of none before.
type calmQueue struct{}

// errNothingKept answers whoever wants to read a stream of calmQueue's.
var errNothingKept = errors.New("nothing is kept")

func (calmQueue) CommandStatus(context.Context, string) (pipeline.CommandStatus, error) {
	return pipeline.CommandStatus{}, pipeline.ErrNotFound
}

func (calmQueue) ResumeCommand(context.Context, flow.Command, time.Duration) (pipeline.Reply, error) {
	return pipeline.Reply{}, nil
}

func (calmQueue) CommandReply(context.Context, string) (pipeline.Reply, flow.Verb, bool, error) {
	return pipeline.Reply{}, "", false, nil
}

func (calmQueue) FollowCommands(context.Context, func(command.Change)) error { return errNothingKept }

func (calmQueue) Reserve(_ context.Context, _ string, wanted pipeline.Reservation) (pipeline.Reservation, uint64, error) {
	return wanted, 1, nil
}

func (calmQueue) Reservation(context.Context, string) (pipeline.Reservation, uint64, error) {
	return pipeline.Reservation{}, 0, pipeline.ErrNotFound
}

func (calmQueue) UpdateReservation(context.Context, string, pipeline.Reservation, uint64) (uint64, error) {
	return 2, nil
}

func (calmQueue) Why(context.Context, int, inspect.Refresh) (inspect.Why, error) {
	return inspect.Why{}, nil
}

func (calmQueue) ReadTransitions(context.Context, int, uint64) (*history.Reader, error) {
	return nil, errNothingKept
}
func (calmQueue) LastTransitionSequence(context.Context) (uint64, error) { return 0, nil }
func (calmQueue) Observe() (*inspect.Observer, error)                    { return nil, errNothingKept }
func (calmQueue) LastChange(context.Context) (changes.Point, error)      { return changes.Point{}, nil }
func (calmQueue) ChangedBetween(context.Context, changes.Point, changes.Point, int) (changes.Changed, bool, error) {
	return changes.Changed{}, false, nil
}

func (calmQueue) PublishWork(context.Context, pipeline.Work, string) (uint64, error) { return 1, nil }

func (calmQueue) State() pipeline.ConnectionState { return pipeline.ConnectionState{Connected: true} }
func (calmQueue) SubmitCommand(context.Context, flow.Command, time.Duration) (pipeline.Reply, error) {
	return pipeline.Reply{}, nil
}

func (calmQueue) LoadRecord(context.Context, int) (pipeline.Record, uint64, error) {
	return pipeline.Record{}, 0, nil
}

// fuzzBody sends bodies to a call; none may make it fail inside. Flowjet's own
// API is asked: OneFlow's answers some bad input with 500 for its clients' sake.
func fuzzBody(f *testing.F, method, path string, seeds ...string) {
	f.Helper()
	s, err := newServer(withDefaults(Config{limits: limitedTo(func(l *limits) { l.changes = 1e9 })}), calmQueue{}, calmOned{}, testBox)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(seeds, "", "{", "[]", "null", `"x"`, `{"action":{}}`, strings.Repeat(`{"a":`, 80)) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, query := range []string{"", "?dry_run=true"} {
			r := httptest.NewRequest(method, ownPrefix+path+query, strings.NewReader(body))
			r.SetBasicAuth("oneadmin", "x")
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			if w.Code >= 500 || w.Code >= 400 && w.Body.Len() == 0 {
				t.Errorf("%s %s%s with %q: %d %q", method, path, query, body, w.Code, w.Body)
			}
		}
	})
}

func FuzzCreateTemplate(f *testing.F)  { fuzzBody(f, "POST", "/service_template", twoRoles) }
func FuzzReplaceTemplate(f *testing.F) { fuzzBody(f, "PUT", "/service_template/1", twoRoles) }

func FuzzDeleteTemplate(f *testing.F) {
	fuzzBody(f, "DELETE", "/service_template/1", `{"delete_type":"all"}`)
}

func FuzzTemplateAction(f *testing.F) {
	fuzzBody(f, "POST", "/service_template/1/action",
		perform("instantiate", `{"merge_template":{"roles":[{"name":"Master","cardinality":2}],"networks_values":[{"A":{"id":1}}]}}`),
		perform("update", `{"append":true,"template_json":"{\"description\":\"d\"}"}`), perform("clone", `{"name":"c","recursive":"all"}`),
		perform("chown", `{"owner_id":"1","group_id":1}`), perform("chown", `{"owner_id":"alice","group_id":"nobody"}`),
		perform("chgrp", `{"group_id":"staff"}`), perform("chmod", `{"octet":"640"}`))
}

func FuzzServiceAction(f *testing.F) {
	fuzzBody(f, "POST", "/service/2/action", perform("recover", `{"delete":true}`), perform("release", `{}`),
		perform("snapshot-create", `{"period":60,"number":"1","args":"x"}`), perform("rename", `{"name":"n"}`), perform("chown", `{"owner_id":0}`),
		perform("chown", `{"owner_id":"bob","group_id":"staff"}`))
}

func FuzzRoleAction(f *testing.F) {
	fuzzBody(f, "POST", "/service/2/role/Master/action", perform("poweroff", `{"period":"","number":2}`), perform("release", `{}`))
}

func FuzzRoles(f *testing.F) {
	fuzzBody(f, "POST", "/service/2/role_action", perform("add_role", `{"role":{"name":"x","type":"vm","template_id":0,"cardinality":1}}`),
		perform("add_role", `{"role":"{\"name\":\"x\"}"}`), perform("remove_role", `{"role":"Master"}`))
}

func FuzzScale(f *testing.F) {
	fuzzBody(f, "POST", "/service/2/scale", `{"role_name":"Master","cardinality":"3","force":true}`)
}

func FuzzUpdateService(f *testing.F) {
	fuzzBody(f, "PUT", "/service/2", `{"append":true,"template":"{\"description\":\"d\"}"}`, twoRoles)
}
