package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxControlBytes bounds a request of the control API.
const maxControlBytes = 64 << 10

// controlHandler is the control API; the package's documentation lists it.
func (s *Sim) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", s.showState)
	mux.HandleFunc("GET /vms", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.VMs()) })
	mux.HandleFunc("GET /calls", s.showCalls)
	mux.HandleFunc("DELETE /calls", does(func(*http.Request) error { s.ClearCalls(); return nil }))
	mux.HandleFunc("POST /delays", does(s.controlDelays))
	mux.HandleFunc("POST /faults/calls", does(s.controlCallFault))
	mux.HandleFunc("POST /faults/answers", does(s.controlAnswerFault))
	mux.HandleFunc("DELETE /faults", does(func(*http.Request) error { s.ClearFaults(); return nil }))
	mux.HandleFunc("POST /vms/{id}/monitoring", does(s.controlMonitoring))
	mux.HandleFunc("POST /vms/{id}/{what}", does(s.controlVM))
	mux.HandleFunc("POST /hosts/{id}/{what}", does(s.controlHost))
	mux.HandleFunc("POST /population", does(s.controlPopulation))
	mux.HandleFunc("POST /boots/{what}", does(s.controlBoots))
	mux.HandleFunc("POST /events", does(s.controlEvents))
	mux.HandleFunc("POST /leadership/{what}", does(s.controlLeadership))
	mux.HandleFunc("POST /servers/{n}/{what}", does(s.controlServer))
	mux.HandleFunc("POST /restart", does(s.controlRestart))
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

func (s *Sim) controlDelays(r *http.Request) error {
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

func (s *Sim) controlCallFault(r *http.Request) error {
	var asked CallFailure
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.FailCall(asked)
}

func (s *Sim) controlAnswerFault(r *http.Request) error {
	var asked struct {
		Method string `json:"method"`
		Nth    int    `json:"nth"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.DropAnswer(asked.Method, asked.Nth)
}

func (s *Sim) controlVM(r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%q is no VM id", r.PathValue("id"))
	}
	asked := struct {
		State string `json:"state"`
	}{State: "BOOT_FAILURE"}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	switch what := r.PathValue("what"); what {
	case "break":
		return s.BreakVM(id, strings.ToUpper(asked.State))
	case "lose":
		return s.LoseVM(id)
	case "delete":
		return s.DeleteVM(id)
	case "poweroff":
		return s.PoweroffVM(id)
	case "resume":
		return s.ResumeVM(id)
	case "ready":
		return s.ReadyVM(id)
	default:
		return fmt.Errorf("%q is nothing to do to a VM: break, lose, delete, poweroff, resume or ready", what)
	}
}

// controlMonitoring takes figures as texts or as numbers.
func (s *Sim) controlMonitoring(r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%q is no VM id", r.PathValue("id"))
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

func (s *Sim) controlBoots(r *http.Request) error {
	asked := struct {
		Count int `json:"count"`
	}{Count: 1}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	switch what := r.PathValue("what"); what {
	case "pause":
		s.PauseBoots()
	case "resume":
		s.ResumeBoots()
	case "fail":
		s.FailBoots(max(asked.Count, 0))
	default:
		return fmt.Errorf("%q is nothing to do to boots: pause, resume or fail", what)
	}
	return nil
}

func (s *Sim) controlEvents(r *http.Request) error {
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

func (s *Sim) controlLeadership(r *http.Request) error {
	switch what := r.PathValue("what"); what {
	case "lose":
		s.LoseLeadership()
	case "gain":
		s.GainLeadership()
	case "move":
		return s.MoveLeadership()
	default:
		return fmt.Errorf("%q is nothing to do to the leadership: lose, gain or move", what)
	}
	return nil
}

func (s *Sim) controlServer(r *http.Request) error {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil {
		return fmt.Errorf("%q is no server's number", r.PathValue("n"))
	}
	switch what := r.PathValue("what"); what {
	case "stop":
		return s.StopServer(n)
	case "start":
		return s.StartServer(n)
	case "lead":
		return s.Lead(n)
	default:
		return fmt.Errorf("%q is nothing to do to a server: stop, start or lead", what)
	}
}

func (s *Sim) controlRestart(r *http.Request) error {
	var asked struct {
		Down duration `json:"down"`
	}
	if err := readJSON(r, &asked); err != nil {
		return err
	}
	return s.Restart(time.Duration(asked.Down))
}

func (s *Sim) showCalls(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(orElse(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "after is not a whole number"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"counts": s.CallCounts(), "calls": s.Calls(r.URL.Query().Get("method"), after),
	})
}

func (s *Sim) showState(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.State())
}
