package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

const maxControlBytes = 64 << 10

// controlAPI is the control API, which docs/simulator.md describes.
type controlAPI struct{ *Sim }

// routes are the control API's, by ServeMux pattern; docs/simulator.md explains each.
func (s *controlAPI) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /state":         func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.State()) },
		"GET /vms":           func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.VMs()) },
		"GET /calls":         s.showCalls,
		"DELETE /calls":      does(func(*http.Request) error { s.ClearCalls(); return nil }),
		"POST /delays":       asks(delaysRequest{}, s.changeDelays),
		"POST /faults/calls": asks(CallFailure{}, func(_ *http.Request, asked CallFailure) error { return s.FailCall(asked) }),
		"POST /faults/answers": asks(answersRequest{}, func(_ *http.Request, asked answersRequest) error {
			return s.DropAnswer(asked.Method, asked.Nth)
		}),
		"DELETE /faults":            does(func(*http.Request) error { s.ClearFaults(); return nil }),
		"POST /vms/{id}/monitoring": asks(map[string]json.RawMessage(nil), s.changeMonitoring),
		"POST /vms/{id}/{what}": asks(struct{ State string }{"BOOT_FAILURE"}, func(r *http.Request, asked struct{ State string }) error {
			return choices{
				"break": func(id int) error { return s.BreakVM(id, strings.ToUpper(asked.State)) },
				"lose":  s.LoseVM, "delete": s.DeleteVM, "poweroff": s.PoweroffVM, "resume": s.ResumeVM, "ready": s.ReadyVM,
			}.of("a VM")(r)
		}),
		"POST /hosts/{id}/{what}": does(choices{
			"fail":    func(id int) error { _, err := s.FailHost(id); return err },
			"recover": func(id int) error { _, err := s.RecoverHost(id); return err },
		}.of("a host")),
		"POST /population": asks(Population{Roles: 1}, func(_ *http.Request, asked Population) error { return s.Populate(asked) }),
		"POST /boots/{what}": asks(struct{ Count int }{1}, func(r *http.Request, asked struct{ Count int }) error {
			return choices{
				"pause": always(s.PauseBoots), "resume": always(s.ResumeBoots), "fail": always(func() { s.FailBoots(max(asked.Count, 0)) }),
			}.of("boots")(r)
		}),
		"POST /events": asks(eventsRequest{}, s.changeEvents),
		"POST /leadership/{what}": does(choices{
			"lose": always(s.LoseLeadership), "gain": always(s.GainLeadership), "move": func(int) error { return s.MoveLeadership() },
		}.of("the leadership")),
		"POST /servers/{id}/{what}": does(choices{"stop": s.StopServer, "start": s.StartServer, "lead": s.Lead}.of("a server")),
		"POST /restart": asks(struct{ Down duration }{}, func(_ *http.Request, asked struct{ Down duration }) error {
			return s.Restart(time.Duration(asked.Down))
		}),
	}
}

// does turns a function that may fail into a handler.
func does(what func(r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := what(r); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	}
}

// asks turns a function with a JSON request body into a handler. Fields that are missing in the body, or all without a
// body, are as in otherwise.
func asks[T any](otherwise T, what func(r *http.Request, asked T) error) http.HandlerFunc {
	return does(func(r *http.Request) error {
		asked := otherwise
		decoder := json.NewDecoder(io.LimitReader(r.Body, maxControlBytes))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&asked); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the request: %w", err)
		}
		return what(r, asked)
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// choices are the actions on an object, by the last part of the path.
type choices map[string]func(id int) error

// of returns the function that carries out the action in the path, on the object with the number in it.
func (c choices) of(object string) func(r *http.Request) error {
	return func(r *http.Request) error {
		id, err := 0, error(nil)
		if r.PathValue("id") != "" {
			id, err = pathID(r, object)
		}
		do, known := c[r.PathValue("what")]
		switch {
		case err != nil:
			return err
		case !known:
			return fmt.Errorf("%q is nothing to do to %s: %s", r.PathValue("what"), object, strings.Join(slices.Sorted(maps.Keys(c)), ", "))
		}
		return do(id)
	}
}

// always returns a choice that cannot fail.
func always(do func()) func(int) error {
	return func(int) error { do(); return nil }
}

// pathID reads an object's number from the path.
func pathID(r *http.Request, object string) (int, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return 0, fmt.Errorf("%q is no id of %s", r.PathValue("id"), object)
	}
	return id, nil
}

// duration is a time.Duration written as a text such as "15ms".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err == nil && parsed < 0 {
		err = fmt.Errorf("%s is negative", parsed)
	}
	*d = duration(parsed)
	return err
}

type delaysRequest struct {
	Boot       *duration           `json:"boot"`
	Call       *duration           `json:"call"`
	Methods    map[string]duration `json:"methods"`
	Serialised *bool               `json:"serialised"`
}

func (s *controlAPI) changeDelays(_ *http.Request, asked delaysRequest) error {
	for method := range asked.Methods {
		if err := knownMethod(method); err != nil {
			return err
		}
	}
	if asked.Boot != nil {
		s.SetBootDelay(time.Duration(*asked.Boot))
	}
	if asked.Call != nil {
		s.SetCallDelay("", time.Duration(*asked.Call))
	}
	for method, delay := range asked.Methods {
		s.SetCallDelay(method, time.Duration(delay))
	}
	if asked.Serialised != nil {
		s.SetSerialisedWrites(*asked.Serialised)
	}
	return nil
}

type answersRequest struct {
	Method string `json:"method"`
	Nth    int    `json:"nth"`
}

// changeMonitoring accepts figures as texts or as numbers.
func (s *controlAPI) changeMonitoring(r *http.Request, asked map[string]json.RawMessage) error {
	id, err := pathID(r, "a VM")
	if err != nil {
		return err
	}
	figures := map[string]string{}
	for name, value := range asked {
		figures[name] = strings.Trim(string(value), `"`)
	}
	return s.SetMonitoring(id, figures)
}

type eventsRequest struct {
	Drop    *int      `json:"drop"`
	Double  *int      `json:"double"`
	Reorder *int      `json:"reorder"`
	Delay   *duration `json:"delay"`
}

func (s *controlAPI) changeEvents(_ *http.Request, asked eventsRequest) error {
	s.change(func(f *eventFaults) {
		f.drop = max(*cmp.Or(asked.Drop, &f.drop), 0)
		f.double = max(*cmp.Or(asked.Double, &f.double), 0)
		f.reorder = max(*cmp.Or(asked.Reorder, &f.reorder), 0)
		f.delay = time.Duration(*cmp.Or(asked.Delay, (*duration)(&f.delay)))
	})
	return nil
}

func (s *controlAPI) showCalls(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "after is not a whole number"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"counts": s.CallCounts(), "calls": s.Calls(r.URL.Query().Get("method"), after)})
}

// faultInjector changes VMs and hosts without oned's API, as failing hosts, guests and administrators do.
type faultInjector struct{ db *database }

// PauseBoots keeps booting VMs in BOOT (and its like) until ResumeBoots.
func (f *faultInjector) PauseBoots() { f.db.locked(func() { f.db.bootsPaused = true }) }

// ResumeBoots resumes paused boots.
func (f *faultInjector) ResumeBoots() {
	f.db.locked(func() {
		f.db.bootsPaused = false
		for _, v := range f.db.cloud.vms {
			if v.paused {
				v.paused = false
				f.db.scheduleStep(v)
			}
		}
	})
}

// FailBoots makes the next n boots end in their failure state.
func (f *faultInjector) FailBoots(n int) { f.db.locked(func() { f.db.failBoots = n }) }

// changeByHand changes a VM without oned's API, unless that is refused, and waits until the change is published, then
// stored.
func (f *faultInjector) changeByHand(id int, what string, change func(t *tx, v *vm)) error {
	var refused *refusal
	written := time.Now().Add(f.db.delays.write())
	wait := f.db.update(func(t *tx) {
		t.written = written
		v := t.cloud.vms[id]
		refused = attempt(func() {
			refuseIf(v == nil || v.State == one.VMDone, opennebula.CodeNoExists, "there is none that has not ended")
			change(t, v)
		})
	})
	if err := wait(); err != nil {
		return fmt.Errorf("%s VM %d: %w", what, id, err)
	}
	if refused != nil {
		return fmt.Errorf("%s VM %d: %s", what, id, refused.message)
	}
	<-time.After(time.Until(written))
	return nil
}

func (f *faultInjector) enterByHand(id int, what string, to status) error {
	return f.changeByHand(id, what, func(t *tx, v *vm) { t.enter(v, to) })
}

// BreakVM puts a VM into a failed life-cycle state, such as BOOT_FAILURE.
func (f *faultInjector) BreakVM(id int, state string) error {
	lcm, known := one.ParseLCMState(state)
	if !known {
		return fmt.Errorf("break VM %d: %q is no life-cycle state of OpenNebula", id, state)
	}
	return f.enterByHand(id, "break", active(lcm))
}

// LoseVM makes a VM UNKNOWN, as when its host no longer reports it.
func (f *faultInjector) LoseVM(id int) error { return f.enterByHand(id, "lose", unknown) }

// DeleteVM ends a VM at once, as when an administrator removes it by force.
func (f *faultInjector) DeleteVM(id int) error { return f.enterByHand(id, "delete", ended) }

// PoweroffVM powers a running VM off, as an administrator would.
func (f *faultInjector) PoweroffVM(id int) error { return f.actByHand(id, "poweroff") }

// ResumeVM brings a VM back: one that was powered off, suspended, stopped or undeployed boots, a lost one is found running.
func (f *faultInjector) ResumeVM(id int) error { return f.actByHand(id, "resume") }

func (f *faultInjector) actByHand(id int, name string) error {
	return f.changeByHand(id, name, func(t *tx, v *vm) {
		if name == "resume" && v.status() == unknown {
			t.enter(v, running)
			return
		}
		t.act(t.cloud.oneadmin(), name, v)
	})
}

// SetMonitoring sets figures in a VM's monitoring while it runs, by their names such as CPU; other figures stay as they
// are.
func (f *faultInjector) SetMonitoring(id int, figures map[string]string) error {
	for name := range figures {
		if !attributeName.MatchString(name) || name == "ID" || name == "TIMESTAMP" {
			return fmt.Errorf("set the monitoring of VM %d: %q is no name of a figure, such as CPU", id, name)
		}
	}
	return f.changeByHand(id, "set the monitoring of", func(t *tx, v *vm) {
		if v.Monitoring == nil {
			v.Monitoring = map[string]string{}
		}
		maps.Copy(v.Monitoring, figures)
		vms.save(t, v)
	})
}

var attributeName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// ReadyVM reports READY=YES as the guest of a VM does: by one.vm.update, as the VM's owner, with the event of that call.
func (f *faultInjector) ReadyVM(id int) error {
	return f.changeByHand(id, "report ready", func(t *tx, v *vm) {
		v.UserTemplate = v.UserTemplate.Set("READY", "YES")
		vms.save(t, v)
		parameters := []xmlrpc.Value{
			{Kind: xmlrpc.String}, {Kind: xmlrpc.Int, Number: id}, {Kind: xmlrpc.String, Text: "READY=YES\n"}, {Kind: xmlrpc.Int, Number: 1},
		}
		t.emit(apiEvent("one.vm.update", parameters, nil, answer{value: id}, ""))
	})
}

// hostFaultStep is how many VMs change under one hold of the lock, so that calls are answered meanwhile.
const hostFaultStep = 64

// FailHost makes all running VMs of a host UNKNOWN, as when the host no longer reports; it returns how many.
func (f *faultInjector) FailHost(id int) (int, error) {
	return f.changeHost(id, "fail", running, unknown)
}

// RecoverHost finds the UNKNOWN VMs of a host running; it returns how many.
func (f *faultInjector) RecoverHost(id int) (int, error) {
	return f.changeHost(id, "recover", unknown, running)
}

// changeHost takes the VMs of a host from one state to another.
func (f *faultInjector) changeHost(id int, what string, from, to status) (changed int, err error) {
	f.db.mu.RLock()
	hosts := f.db.cloud.hosts.all
	if id < 0 || id >= len(hosts) {
		f.db.mu.RUnlock()
		return 0, fmt.Errorf("%s host %d: there are hosts 0 to %d", what, id, len(hosts)-1)
	}
	ids := slices.Sorted(maps.Keys(hosts[id].vms))
	f.db.mu.RUnlock()
	for some := range slices.Chunk(ids, hostFaultStep) {
		wait := f.db.update(func(t *tx) {
			for _, id := range some {
				if v := t.cloud.vms[id]; v != nil && v.status() == from {
					t.enter(v, to)
					changed++
				}
			}
		})
		if err := wait(); err != nil {
			return changed, fmt.Errorf("%s host %d: %w", what, id, err)
		}
	}
	return changed, nil
}
