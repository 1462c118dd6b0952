package sim

import (
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

// maxControlBytes bounds a request of the control API.
const maxControlBytes = 64 << 10

// controlAPI is the control API, which docs/simulator.md describes.
type controlAPI struct{ *Sim }

// routes are the control API's, by ServeMux pattern; docs/simulator.md explains each.
func (s *controlAPI) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /state":                s.showState,
		"GET /vms":                  func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.VMs()) },
		"GET /calls":                s.showCalls,
		"DELETE /calls":             does(func(*http.Request) error { s.ClearCalls(); return nil }),
		"POST /delays":              does(s.changeDelays),
		"POST /faults/calls":        does(s.planCallFault),
		"POST /faults/answers":      does(s.planAnswerFault),
		"DELETE /faults":            does(func(*http.Request) error { s.ClearFaults(); return nil }),
		"POST /vms/{id}/monitoring": does(s.changeMonitoring),
		"POST /vms/{id}/{what}":     does(s.changeVM),
		"POST /hosts/{id}/{what}":   does(s.changeHost),
		"POST /population":          does(s.populate),
		"POST /boots/{what}":        does(s.changeBoots),
		"POST /events":              does(s.changeEvents),
		"POST /leadership/{what}":   does(s.changeLeadership),
		"POST /servers/{id}/{what}": does(s.changeServer),
		"POST /restart":             does(s.restart),
	}
}

func (s *controlAPI) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range s.routes() {
		mux.HandleFunc(pattern, handler)
	}
	return mux
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

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// readJSON reads a request's body; none at all is an empty object.
func readJSON(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxControlBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
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

func (s *controlAPI) changeDelays(r *http.Request) error {
	var asked struct {
		Boot       *duration           `json:"boot"`
		Call       *duration           `json:"call"`
		Methods    map[string]duration `json:"methods"`
		Serialised *bool               `json:"serialised"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
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

func (s *controlAPI) planCallFault(r *http.Request) error {
	var asked CallFailure
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.FailCall(asked)
}

func (s *controlAPI) planAnswerFault(r *http.Request) error {
	var asked struct {
		Method string `json:"method"`
		Nth    int    `json:"nth"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.DropAnswer(asked.Method, asked.Nth)
}

// choices are what can be done to something, by the last part of the path.
type choices map[string]func() error

// choose carries out what the path asks for.
func (c choices) choose(r *http.Request, object string) error {
	do, known := c[r.PathValue("what")]
	if !known {
		return fmt.Errorf("%q is nothing to do to %s: %s", r.PathValue("what"), object, strings.Join(slices.Sorted(maps.Keys(c)), ", "))
	}
	return do()
}

// always is a choice that cannot fail.
func always(do func()) func() error {
	return func() error { do(); return nil }
}

// pathID reads the number of something out of the path.
func pathID(r *http.Request, object string) (int, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return 0, fmt.Errorf("%q is no id of %s", r.PathValue("id"), object)
	}
	return id, nil
}

func (s *controlAPI) changeVM(r *http.Request) error {
	id, err := pathID(r, "a VM")
	if err != nil {
		return err
	}
	asked := struct {
		State string `json:"state"`
	}{State: "BOOT_FAILURE"}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return choices{
		"break":    func() error { return s.BreakVM(id, strings.ToUpper(asked.State)) },
		"lose":     func() error { return s.LoseVM(id) },
		"delete":   func() error { return s.DeleteVM(id) },
		"poweroff": func() error { return s.PoweroffVM(id) },
		"resume":   func() error { return s.ResumeVM(id) },
		"ready":    func() error { return s.ReadyVM(id) },
	}.choose(r, "a VM")
}

func (s *controlAPI) changeHost(r *http.Request) error {
	id, err := pathID(r, "a host")
	if err != nil {
		return err
	}
	return choices{
		"fail":    func() error { _, err := s.FailHost(id); return err },
		"recover": func() error { _, err := s.RecoverHost(id); return err },
	}.choose(r, "a host")
}

func (s *controlAPI) populate(r *http.Request) error {
	asked := Population{Roles: 1}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.Populate(asked)
}

// changeMonitoring takes figures as texts or as numbers.
func (s *controlAPI) changeMonitoring(r *http.Request) error {
	id, err := pathID(r, "a VM")
	if err != nil {
		return err
	}
	var asked map[string]json.RawMessage
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	figures := map[string]string{}
	for name, value := range asked {
		figures[name] = strings.Trim(string(value), `"`)
	}
	return s.SetMonitoring(id, figures)
}

func (s *controlAPI) changeBoots(r *http.Request) error {
	asked := struct {
		Count int `json:"count"`
	}{Count: 1}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return choices{
		"pause":  always(s.PauseBoots),
		"resume": always(s.ResumeBoots),
		"fail":   always(func() { s.FailBoots(max(asked.Count, 0)) }),
	}.choose(r, "boots")
}

func (s *controlAPI) changeEvents(r *http.Request) error {
	var asked struct {
		Drop    *int      `json:"drop"`
		Double  *int      `json:"double"`
		Reorder *int      `json:"reorder"`
		Delay   *duration `json:"delay"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
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

func (s *controlAPI) changeLeadership(r *http.Request) error {
	return choices{
		"lose": always(s.LoseLeadership), "gain": always(s.GainLeadership), "move": s.MoveLeadership,
	}.choose(r, "the leadership")
}

func (s *controlAPI) changeServer(r *http.Request) error {
	n, err := pathID(r, "a server")
	if err != nil {
		return err
	}
	return choices{
		"stop":  func() error { return s.StopServer(n) },
		"start": func() error { return s.StartServer(n) },
		"lead":  func() error { return s.Lead(n) },
	}.choose(r, "a server")
}

func (s *controlAPI) restart(r *http.Request) error {
	var asked struct {
		Down duration `json:"down"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.Restart(time.Duration(asked.Down))
}

func (s *controlAPI) showCalls(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(orElse(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "after is not a whole number"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"counts": s.CallCounts(), "calls": s.Calls(r.URL.Query().Get("method"), after),
	})
}

func (s *controlAPI) showState(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.State())
}
