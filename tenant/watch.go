package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/terminal"
)

// pollEvery is how often a service is read while no event about it arrives: events only speed this up.
const pollEvery = 2 * time.Second

// eventsWithin is how long events are waited for: at first until they can be received, and in the end for those that led to
// the state that was read.
const eventsWithin = 5 * time.Second

// waiter waits for a service to come to a state, and prints its events meanwhile.
type waiter struct {
	*console
	api     *client.Client
	service int
	until   string
	// begin is true for a new service, which is followed from its beginning.
	begin bool
	*feed
	// last is the state in the last event.
	last string
	// first is the service as it was right after the change, and moved when a VM of it was last on its way.
	first *client.Service
	moved time.Time
}

// feed has the events of services.
type feed struct {
	events chan client.Event
	// opened is closed when events are received, and ended, with err, when no more are.
	opened, ended chan struct{}
	err           error
}

// listen follows a service (-1 for all), from its beginning or from now on, until ctx ends.
func listen(ctx context.Context, api *client.Client, service int, begin bool) *feed {
	f := &feed{events: make(chan client.Event), opened: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		f.err = api.Follow(ctx, service, begin, func() { close(f.opened) }, func(event client.Event) {
			select {
			case f.events <- event:
			case <-ctx.Done():
			}
		})
	}()
	return f
}

// deleted is the state in the event that reports a deleted document of a DONE service.
const deleted = "DELETED"

// follow begins to follow the service's events, from its beginning or from now on.
func (w *waiter) follow(ctx context.Context) {
	w.feed = listen(ctx, w.api, w.service, w.begin) // without events the state is polled
	if w.begin {
		return
	}
	select { // the change's events must not be missed
	case <-w.opened:
	case <-w.ended:
	case <-time.After(eventsWithin):
	case <-ctx.Done():
	}
}

// await waits until the service of an answered change has come to its state, and returns that.
func (w *waiter) await(ctx context.Context, service int, answer client.Answer) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.service = service
	if w.begin {
		w.follow(ctx)
	}
	if answer.Status == http.StatusAccepted {
		if err := w.api.Await(ctx, answer.Location); err != nil {
			return "", err
		}
	}
	tick := time.Tick(pollEvery)
	for {
		if state, over, err := w.poll(ctx); over {
			if err == nil {
				w.printRest(state)
			}
			return state, err
		}
		for heard := false; !heard; {
			select {
			case event := <-w.events:
				w.printEvent(event)
				heard = event.Kind == "service"
			case <-tick:
				heard = true
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	}
}

func (w *waiter) printEvent(event client.Event) {
	if event.Kind == "service" {
		w.last = event.New
	}
	if w.Format == terminal.Table && event.New != deleted {
		w.Say("%s  %s", w.At(event.Time), w.Change(event.Change))
	}
}

// printRest prints the events that led to the service's state.
func (w *waiter) printRest(state string) {
	limit := time.After(eventsWithin)
	for w.last != state && w.last != deleted {
		select {
		case event := <-w.events:
			w.printEvent(event)
		case <-w.ended:
			return
		case <-limit:
			return
		}
	}
}

// poll reads the service's state, and reports whether the wait is over.
func (w *waiter) poll(ctx context.Context) (state string, over bool, err error) {
	found, err := w.api.Service(ctx, w.service)
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound && w.until == gone:
		return gone, true, nil
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return "", true, terminal.ExitTrouble.Because(fmt.Errorf("service %d is gone", w.service))
	case err != nil && ctx.Err() == nil && isUnreachable(err):
		return "", false, nil // the API may come back
	case err != nil:
		return "", true, err
	}
	if w.first == nil {
		w.first, w.moved = &found, time.Now()
	}
	switch {
	case found.State == w.until, found.State == hold && w.begin:
		return found.State, true, w.reverted(found)
	case strings.HasPrefix(found.State, "FAILED_"), found.State == warning && w.until != gone && !w.recovers(found):
		return found.State, true, terminal.ExitTrouble.Because(fmt.Errorf("service %d is %s: `flowjet service show %d` shows why", w.service, found.State, w.service))
	}
	return found.State, false, nil
}

// recovers reports whether a service that was in WARNING at first may still leave it: a VM is on its way, or was a moment ago.
func (w *waiter) recovers(found client.Service) bool {
	for _, role := range found.Roles {
		if slices.ContainsFunc(role.VMs, func(vm schema.VM) bool { return vm.Kind == "working" || vm.Kind == "waiting" }) {
			w.moved = time.Now()
		}
	}
	return w.first.State == warning && time.Since(w.moved) < eventsWithin
}

// reverted returns the error in the service's log with which a role has lost VMs of the change, as by a deadline with "then": "shrink".
func (w *waiter) reverted(found client.Service) error {
	failed := slices.IndexFunc(found.Log, func(entry schema.Entry) bool { return entry.Severity == "E" })
	if failed < 0 || len(w.first.Log) > 0 && found.Log[failed].Time.Before(w.first.Log[0].Time) {
		return nil
	}
	for _, was := range w.first.Roles {
		if slices.ContainsFunc(found.Roles, func(role schema.Role) bool { return role.Name == was.Name && role.Wanted < was.Wanted }) {
			return terminal.ExitTrouble.Because(fmt.Errorf("service %d is %s without the VMs asked for: %s", w.service, found.State, w.Timed(found.Log[failed].Message)))
		}
	}
	return nil
}

// isUnreachable reports whether an error may pass during a wait.
func isUnreachable(err error) bool {
	status, _ := terminal.ExitOf(coded(err))
	return status == terminal.ExitUnreachable
}

type lister struct {
	*console
	api    *client.Client
	states []string
	owner  string
}

func (l lister) rows(ctx context.Context) ([]schema.Row, error) {
	rows, err := l.api.Services(ctx, l.owner, l.states)
	return slices.DeleteFunc(rows, func(row schema.Row) bool { return !l.wants(row) }), err
}

func (l lister) wants(row schema.Row) bool {
	return (l.owner == "" || row.Owner == l.owner) && (len(l.states) == 0 || slices.Contains(l.states, row.State))
}

// narrow is how many of the columns are shown unless all are requested.
const narrow = 6

func cells(c *console, row schema.Row) []string {
	count := "?"
	if row.Running != nil {
		count = strconv.Itoa(*row.Running)
	}
	return []string{strconv.Itoa(row.ID), row.Name, row.Owner, row.State, fmt.Sprintf("%s/%d", count, row.Wanted), strconv.Itoa(row.RoleCount), row.Group, c.At(row.Started)}
}

func listing(c *console, rows []schema.Row) terminal.Listing {
	found := terminal.Listing{Value: rows, Head: []string{"ID", "NAME", "OWNER", "STATE", "RUNNING", "ROLES", "GROUP", "STARTED"}, Narrow: narrow, None: "There are no such services."}
	for _, row := range rows {
		found.Rows = append(found.Rows, cells(c, row))
	}
	return found
}

// watch lists the services and then prints each that changes.
func (l lister) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := listen(ctx, l.api, -1, false)
	select {
	case <-heard.opened:
	case <-heard.ended:
		return heard.err
	case <-ctx.Done():
		return nil
	}
	shown, err := l.first(ctx)
	missed := map[int]bool{} // those that could not be read for a moment
	tick := time.Tick(pollEvery)
	for err == nil {
		select {
		case event := <-heard.events:
			if event.Kind == "service" || event.Kind == "vm" {
				missed[event.Service] = true
				err = l.catchUp(ctx, missed, shown)
			}
		case <-tick:
			err = l.catchUp(ctx, missed, shown)
		case <-heard.ended:
			err = heard.err
		case <-ctx.Done():
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (l lister) first(ctx context.Context) (map[int]schema.Row, error) {
	rows, err := l.rows(ctx)
	if err != nil {
		return nil, err
	}
	shown := map[int]schema.Row{}
	for _, row := range rows {
		shown[row.ID] = row
		if err == nil && l.Structured() {
			err = l.Line(row)
		}
	}
	if !l.Structured() {
		err = l.List(listing(l.console, rows))
	}
	return shown, err
}

// catchUp reads changed services again, until the API is away.
func (l lister) catchUp(ctx context.Context, missed map[int]bool, shown map[int]schema.Row) error {
	for _, id := range slices.Sorted(maps.Keys(missed)) {
		if err := l.again(ctx, id, shown); err != nil {
			if isUnreachable(err) {
				return nil // the API may come back
			}
			return err
		}
		delete(missed, id)
	}
	return nil
}

// again writes a service's row if it has changed. A service that is gone is DONE.
func (l lister) again(ctx context.Context, id int, shown map[int]schema.Row) error {
	found, err := l.api.Service(ctx, id)
	row := found.Row
	was, known := shown[id]
	if refused, is := errors.AsType[*client.Error](err); is && (refused.Status == http.StatusNotFound || refused.Status == http.StatusForbidden) {
		if !known {
			return nil
		}
		row, err = was, nil
		row.State, row.Running = gone, new(0)
	}
	if err != nil {
		return err
	}
	if known && slices.Equal(cells(l.console, was), cells(l.console, row)) || !known && !l.wants(row) {
		return nil
	}
	shown[id] = row
	if row.State == gone {
		delete(shown, id)
	}
	switch {
	case l.Structured():
		return l.Line(row)
	case l.Format == terminal.Name:
		l.Say("%d", row.ID)
	default:
		line := cells(l.console, row)
		if l.Format != terminal.Wide {
			line = line[:narrow]
		}
		l.Aligned(line)
	}
	return nil
}
