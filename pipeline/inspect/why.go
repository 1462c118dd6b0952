package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

const (
	// maxVMs bounds how many VMs of a service are read for an explanation.
	maxVMs = 200
	// keptPath is how many of the last transitions an explanation shows, among
	// the last messages of all services.
	keptPath    = 10
	searchedFor = 5000
	// maxDeadLetters is how many dead letters of each part are searched for the service's.
	maxDeadLetters = 500
)

// Why explains why a service is in its state, from the data on NATS: that works
// without any worker or oned.
type Why struct {
	Version int    `json:"v"`
	Service int    `json:"service"`
	Name    string `json:"name,omitempty"`
	Owner   string `json:"owner,omitempty"`
	// State is the state's name, DELETED for a service that has ended.
	State string `json:"state"`
	// Since is when the service entered the state.
	Since time.Time `json:"since,omitzero"`
	// Summary is all of it in one sentence.
	Summary string `json:"summary"`
	// Reason is the reason of the transition to the state, Cause its cause.
	Reason string          `json:"reason,omitempty"`
	Cause  *pipeline.Cause `json:"cause,omitempty"`
	// Failed is what went wrong, Waits what has to happen for the service to go on, Next what an
	// operator can do. Notes hold nothing up.
	Failed []flow.Finding `json:"failed"`
	Waits  []flow.Finding `json:"waits"`
	Notes  []flow.Finding `json:"notes"`
	Next   []string       `json:"next"`
	// OnedAway is the reason why the states of VMs are those of their last events, and not as oned shows them now;
	// empty if they are current.
	OnedAway string       `json:"oned_away,omitempty"`
	Roles    []RoleStatus `json:"roles"`
	// Timers are when the service is checked again, by timer.
	Timers map[string]time.Time `json:"timers,omitempty"`
	// Backlog is the service's inputs that are not handled yet.
	Backlog Backlog `json:"backlog"`
	// DeadLetters is the number of dead letters of the service.
	DeadLetters int `json:"dead_letters"`
	// Path are the last transitions, oldest first.
	Path []pipeline.Transition `json:"path"`
}

// RoleStatus is one role.
type RoleStatus struct {
	Name        string `json:"name"`
	State       string `json:"state"`
	Cardinality int    `json:"cardinality"`
	VMs         int    `json:"vms"`
}

// Backlog is the number of inputs that wait to be handled.
type Backlog struct {
	Count uint64 `json:"count"`
	// Oldest is since when the first of it waits.
	Oldest time.Time `json:"oldest,omitzero"`
}

// Refresh fetches a service's state and facts as the zone's leader shows them now. An
// UnreadableError is returned beside them if the service's document cannot be read.
type Refresh func(ctx context.Context, state flow.State) (flow.State, flow.Facts, error)

// UnreadableError is the reason why a service's document cannot be read.
type UnreadableError struct{ Reason error }

func (u UnreadableError) Error() string { return u.Reason.Error() }

// fetchWithin bounds how long an explanation waits for oned: that servers of a zone differ is known after two seconds.
const fetchWithin = 5 * time.Second

// Why explains a service by its record and by the result of refresh; without it, or if oned
// does not answer, by the last events of its VMs. pipeline.ErrNotFound is returned if
// NATS has no data about the service.
func (i *Inspector) Why(ctx context.Context, service int, refresh Refresh) (Why, error) {
	record, revision, err := i.records.LoadRecord(ctx, service)
	if err != nil {
		return Why{}, err
	}
	path, err := i.lastTransitions(ctx, service)
	if err != nil {
		return Why{}, err
	}
	if revision == 0 && len(path) == 0 {
		return Why{}, fmt.Errorf("service %d: %w", service, pipeline.ErrNotFound)
	}
	record.State.Service.ID = service
	var facts flow.Facts
	var unreadable UnreadableError
	away, seen := errors.New("oned is not configured here"), false
	if refresh != nil {
		asking, cancel := context.WithTimeout(ctx, fetchWithin)
		defer cancel()
		var state flow.State
		state, facts, away = refresh(asking, record.State)
		if seen = away == nil || errors.As(away, &unreadable); seen {
			record.State = state
		}
	}
	if !seen {
		if facts, err = i.heardVMs(ctx, record.State); err != nil {
			return Why{}, err
		}
	}
	why := Explain(service, record, facts, path, time.Now())
	switch {
	case !seen:
		why.OnedAway = away.Error()
	case away != nil:
		why.Unreadable(unreadable.Reason)
	}
	return why, i.addInputs(ctx, &why, record.Applied)
}

// addInputs adds the service's inputs that are not handled, or could not be.
func (i *Inspector) addInputs(ctx context.Context, why *Why, applied uint64) (err error) {
	now := time.Now()
	if why.Backlog, err = i.backlogOf(ctx, why.Service, applied); err != nil {
		return err
	}
	if oldest := why.Backlog.Oldest; !oldest.IsZero() && now.Sub(oldest) > lateAfter {
		why.Waits = append(why.Waits, flow.Finding{Kind: flow.FoundInputs, Count: int(min(why.Backlog.Count, 1<<31)), Since: oldest}.Written(now))
		var heard Overview
		if _, err := (&collector{Inspector: i, overview: &heard}).listen(ctx); err != nil {
			return err
		}
		if len(heard.Workers) == 0 {
			why.Waits = append(why.Waits, flow.Finding{Kind: flow.FoundNoWorker}.Written(now))
		}
		why.Next = append(why.Next, "`flowjet doctor` shows why the worker is blocked")
	}
	deadLetters, err := i.deadLetters.DeadLettersOfService(ctx, why.Service, maxDeadLetters)
	if err != nil {
		return fmt.Errorf("look for dead letters of service %d: %w", why.Service, err)
	}
	deadLetters = slices.DeleteFunc(deadLetters, func(dead pipeline.DeadLetter) bool { // its reason is the operators' alone; users see explanations
		var delivery pipeline.Delivery // of a receiver of the configuration
		return dead.Where == "webhook" && json.Unmarshal(dead.Data, &delivery) == nil && delivery.Receiver != ""
	})
	if why.DeadLetters = len(deadLetters); len(deadLetters) > 0 {
		last := deadLetters[len(deadLetters)-1]
		why.Notes = append(why.Notes, flow.Finding{Kind: flow.FoundDead, Count: len(deadLetters), Said: last.Reason, Since: last.Time}.Written(now))
		why.Next = append(why.Next, fmt.Sprintf("`flowjet dlq ls --service %d` lists messages that could not be processed", why.Service))
	}
	return nil
}

// Unreadable adds that the service's document cannot be read.
func (w *Why) Unreadable(reason error) {
	w.Failed = append(w.Failed, flow.Finding{Kind: flow.FoundUnreadable, Said: reason.Error()}.Written(time.Now()))
	if w.State != unreadable {
		w.Next = append(w.Next, fmt.Sprintf("`oneflow recover %d` writes the document as Flowjet has it", w.Service))
	}
	w.Next = append(w.Next, "an administrator corrects the document's body (one.document.update): docs/troubleshooting.md, \"A document that cannot be read\"")
	w.Summary = w.summary()
}

// Explain makes an explanation from a service's record, the states of its VMs
// and its last transitions, oldest first.
func Explain(service int, record pipeline.Record, facts flow.Facts, path []pipeline.Transition, now time.Time) Why {
	state := record.State
	state.Service.ID = service
	explained := flow.Explain(state, facts, now)
	why := Why{
		Version: pipeline.Version, Service: service, Name: state.Service.Name(), Owner: state.Service.Owner.UName,
		State: explained.State.String(), Failed: list(explained.Failed), Waits: list(explained.Waits), Notes: list(explained.Notes),
		Next: list(explained.Next), Roles: []RoleStatus{}, Path: list(path[max(0, len(path)-keptPath):]),
	}
	for _, role := range state.Service.Body.Roles {
		why.Roles = append(why.Roles, RoleStatus{Name: role.Name, State: role.CurrentState().String(), Cardinality: role.Cardinality, VMs: len(role.Nodes)})
	}
	if record.Deleted || len(path) > 0 && path[len(path)-1].New == pipeline.Deleted {
		why.State, why.Failed, why.Waits, why.Notes, why.Next = pipeline.Deleted, []flow.Finding{}, []flow.Finding{}, []flow.Finding{}, []string{}
	}
	if len(record.Timers) > 0 {
		why.Timers = map[string]time.Time{}
		for name, timer := range record.Timers {
			why.Timers[name] = timer.Due
		}
	}
	why.blame(path, state.Service.Body.Log)
	why.Summary = why.summary()
	return why
}

// unreadable is shown as the state of a service whose document cannot be read.
const unreadable = "UNREADABLE"

// Unreadable explains a service whose document cannot be read: nothing can be done for it
// until it has been repaired.
func Unreadable(service int, name, owner string, reason error) Why {
	why := Why{
		Version: pipeline.Version, Service: service, Name: name, Owner: owner, State: unreadable,
		Failed: []flow.Finding{}, Waits: []flow.Finding{}, Notes: []flow.Finding{}, Next: []string{},
		Roles: []RoleStatus{}, Path: []pipeline.Transition{},
	}
	why.Unreadable(reason)
	return why
}

// blame finds the cause of the state: the service's last transition, or, if the
// history has none, its log. The cause of the end of a service is that of its undeployment.
func (w *Why) blame(path []pipeline.Transition, log []spec.LogEntry) {
	for _, last := range slices.Backward(path) {
		switch {
		case last.Kind != "service":
			continue
		case w.Since.IsZero() && last.New != w.State:
			return
		case w.Since.IsZero():
			w.Since, w.Cause, w.Reason = last.Time, &last.Cause, last.Reason
		case last.New == spec.ServiceUndeploying.String():
			w.Cause, w.Reason = &last.Cause, last.Reason
			return
		}
		if w.State != pipeline.Deleted {
			return
		}
	}
	for i := len(log) - 1; w.Since.IsZero() && i >= 0; i-- {
		if log[i].Message == spec.StateLogged+w.State {
			w.Since = time.Unix(log[i].Timestamp, 0).UTC()
		}
	}
}

func (w *Why) summary() string {
	var text strings.Builder
	fmt.Fprintf(&text, "service %d is %s", w.Service, w.State)
	if !w.Since.IsZero() {
		fmt.Fprintf(&text, " since %s", w.Since.UTC().Format(time.RFC3339))
	}
	switch {
	case w.Reason != "":
		text.WriteString(" because " + w.Reason)
	case len(w.Failed) > 0:
		text.WriteString(" because " + w.Failed[0].Message)
	case len(w.Waits) > 0:
		text.WriteString(" and waits for: " + w.Waits[0].Message)
	}
	if w.Cause != nil {
		text.WriteString("; cause: " + w.Cause.Text())
	}
	return text.String()
}

// lateAfter is how long an input may take before the summary mentions it.
const lateAfter = 5 * time.Second

// lastTransitions returns the service's transitions, oldest first, among the last messages.
func (i *Inspector) lastTransitions(ctx context.Context, service int) (path []pipeline.Transition, err error) {
	defer errs.Wrap(&err, "read the transitions of service %d", service)
	stream, subjects := i.core.Stream(pipeline.StreamFlow), pipeline.TransitionSubjects(service)
	last, err := stream.Last(ctx, subjects)
	if last == nil || err != nil {
		return nil, err
	}
	err = stream.Each(ctx, subjects, last.Sequence-min(last.Sequence, searchedFor), func(message js.Message) {
		if transition, err := pipeline.ReadTransition(message); err == nil {
			path = append(path, transition)
		}
	})
	return path, err
}

// heardVMs returns the VMs of roles that are not simply running, by their last
// events. A VM's events are kept for three days.
func (i *Inspector) heardVMs(ctx context.Context, state flow.State) (facts flow.Facts, err error) {
	defer errs.Wrap(&err, "read the last events of the VMs of service %d", state.Service.ID)
	facts = flow.Facts{}
	for _, role := range state.Service.Body.Roles {
		if role.State == nil || *role.State == spec.RoleRunning {
			continue
		}
		for _, node := range role.Nodes {
			if len(facts) >= maxVMs {
				return facts, nil
			}
			message, err := i.core.Stream(pipeline.StreamONE).Last(ctx, pipeline.ObjectSubjects(i.pipe.Zone(), "vm", node.DeployID))
			if err != nil {
				return nil, err
			}
			if message == nil {
				continue
			}
			// Messages that cannot be parsed are ignored.
			if event, err := pipeline.DecodeEvent(message.Data); err == nil && event.VM != nil && state.Service.Owns(*event.VM) {
				facts[event.VM.ID] = *event.VM
			}
		}
	}
	return facts, nil
}

// backlogOf returns the service's inputs that are not handled. An input that changed nothing
// is in no record: it is handled if its partition's cursor has passed it, or if the next input behind
// the cursor is another service's.
func (i *Inspector) backlogOf(ctx context.Context, service int, applied uint64) (backlog Backlog, err error) {
	defer errs.Wrap(&err, "read the pending inputs of service %d", service)
	partition, subject, stream := pipeline.Partition(service), pipeline.StoredWorkSubject(service), i.core.Stream(pipeline.StreamWork)
	cursor, err := i.pipe.LoadCursor(ctx, pipeline.PartitionKey(partition))
	if err != nil {
		return Backlog{}, err
	}
	count, own, err := stream.Backlog(ctx, subject, max(applied, cursor))
	if err != nil || count == 0 {
		return Backlog{}, err
	}
	_, first, err := stream.Backlog(ctx, pipeline.PartitionSubjects(partition), cursor)
	if err != nil || first.Subject != subject {
		return Backlog{}, err
	}
	return Backlog{count, own.Time.UTC()}, nil
}
