package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
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
		"POST /vms/{id}/{what}":     asks(vmRequest{State: "BOOT_FAILURE"}, s.changeVM),
		"POST /hosts/{id}/{what}": does(choices{
			"fail":    func(id int) error { _, err := s.FailHost(id); return err },
			"recover": func(id int) error { _, err := s.RecoverHost(id); return err },
		}.of("a host")),
		"POST /population":   asks(Population{Roles: 1}, func(_ *http.Request, asked Population) error { return s.Populate(asked) }),
		"POST /boots/{what}": asks(bootsRequest{Count: 1}, s.changeBoots),
		"POST /events":       asks(eventsRequest{}, s.changeEvents),
		"POST /leadership/{what}": does(choices{
			"lose": always(s.LoseLeadership), "gain": always(s.GainLeadership), "move": func(int) error { return s.MoveLeadership() },
		}.of("the leadership")),
		"POST /servers/{id}/{what}": does(choices{"stop": s.StopServer, "start": s.StartServer, "lead": s.Lead}.of("a server")),
		"POST /restart": asks(restartRequest{}, func(_ *http.Request, asked restartRequest) error {
			return s.Restart(time.Duration(asked.Down))
		}),
	}
}

// does turns something that may fail into a handler.
func does(what func(r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := what(r); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	}
}

// asks turns something that reads the request's body into a handler. What the body does not
// say, or where there is none, is as otherwise.
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

// choices are what can be done to something, by the last part of the path.
type choices map[string]func(id int) error

// of returns what carries out what the path asks for, on the object whose number is in it.
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

// always is a choice that cannot fail.
func always(do func()) func(int) error {
	return func(int) error { do(); return nil }
}

// pathID reads the number of something out of the path.
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

// changeMonitoring takes figures as texts or as numbers.
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

type vmRequest struct {
	State string `json:"state"`
}

func (s *controlAPI) changeVM(r *http.Request, asked vmRequest) error {
	return choices{
		"break": func(id int) error { return s.BreakVM(id, strings.ToUpper(asked.State)) },
		"lose":  s.LoseVM, "delete": s.DeleteVM, "poweroff": s.PoweroffVM, "resume": s.ResumeVM, "ready": s.ReadyVM,
	}.of("a VM")(r)
}

type bootsRequest struct {
	Count int `json:"count"`
}

func (s *controlAPI) changeBoots(r *http.Request, asked bootsRequest) error {
	return choices{
		"pause": always(s.PauseBoots), "resume": always(s.ResumeBoots), "fail": always(func() { s.FailBoots(max(asked.Count, 0)) }),
	}.of("boots")(r)
}

type eventsRequest struct {
	Drop    *int      `json:"drop"`
	Double  *int      `json:"double"`
	Reorder *int      `json:"reorder"`
	Delay   *duration `json:"delay"`
}

func (s *controlAPI) changeEvents(_ *http.Request, asked eventsRequest) error {
	for _, fault := range []struct {
		count *int
		apply func(int)
	}{{asked.Drop, s.DropEvents}, {asked.Double, s.DoubleEvents}, {asked.Reorder, s.ReorderEvents}} {
		if fault.count != nil {
			fault.apply(max(*fault.count, 0))
		}
	}
	if asked.Delay != nil {
		s.DelayEvents(time.Duration(*asked.Delay))
	}
	return nil
}

type restartRequest struct {
	Down duration `json:"down"`
}

func (s *controlAPI) showCalls(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "after is not a whole number"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"counts": s.CallCounts(), "calls": s.Calls(r.URL.Query().Get("method"), after),
	})
}
