package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/terminal"
)

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

var serviceColumns = []string{"ID", "NAME", "OWNER", "STATE", "RUNNING", "ROLES", "GROUP", "STARTED"}

// narrow is how many of the columns are shown unless all are asked for.
const narrow = 6

func cells(c *console, row schema.Row) []string {
	count := "?"
	if row.Running != nil {
		count = strconv.Itoa(*row.Running)
	}
	started := "-"
	if !row.Started.IsZero() {
		started = c.At(row.Started)
	}
	return []string{strconv.Itoa(row.ID), row.Name, row.Owner, row.State, fmt.Sprintf("%s/%d", count, row.Wanted), strconv.Itoa(row.RoleCount), row.Group, started}
}

func listing(c *console, rows []schema.Row) terminal.Listing {
	found := terminal.Listing{Value: rows, Head: serviceColumns, Narrow: narrow, None: "There are no such services."}
	for _, row := range rows {
		found.Rows = append(found.Rows, cells(c, row))
	}
	return found
}

// watch lists the services and goes on with each that changes.
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
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for err == nil {
		select {
		case event := <-heard.events:
			if event.Kind == "service" || event.Kind == "vm" {
				missed[event.Service] = true
				err = l.catchUp(ctx, missed, shown)
			}
		case <-look.C:
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
	}
	if !l.Structured() {
		return shown, l.List(listing(l.console, rows))
	}
	for _, row := range rows {
		if err := l.Line(row); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// catchUp reads again what has changed, until the API is away.
func (l lister) catchUp(ctx context.Context, missed map[int]bool, shown map[int]schema.Row) error {
	for _, id := range slices.Sorted(maps.Keys(missed)) {
		if err := l.again(ctx, id, shown); err != nil {
			if isUnreachable(err) {
				return nil // it may be there again
			}
			return err
		}
		delete(missed, id)
	}
	return nil
}

// again writes a service's row if it has changed. One that is gone is DONE.
func (l lister) again(ctx context.Context, id int, shown map[int]schema.Row) error {
	found, err := l.api.Service(ctx, id)
	row := found.Row
	was, known := shown[id]
	var refused *client.Error
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusForbidden) {
		if !known {
			return nil
		}
		none := 0
		row, err = was, nil
		row.State, row.Running = gone, &none
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
