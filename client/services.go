package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
)

// Service is a service with the ETag of its document.
type Service struct {
	schema.Service
	ETag string `json:"etag"`
}

// Why explains a service's state.
type Why struct {
	Since    time.Time      `json:"since,omitzero"`
	Reason   string         `json:"reason,omitempty"`
	Failed   []flow.Finding `json:"failed"`
	Waits    []flow.Finding `json:"waits"`
	Next     []string       `json:"next"`
	OnedAway string         `json:"oned_away,omitempty"`
}

const pageSize = 200

// Services lists the services that the user may see, in these states (all, if there are none), which have all the words in
// their name or owner.
func (c *Client) Services(ctx context.Context, words string, states []string) ([]schema.Row, error) {
	all := []schema.Row{}
	for {
		var page struct {
			Total    int          `json:"total"`
			Services []schema.Row `json:"services"`
		}
		query := url.Values{"q": {words}, "state": {strings.Join(states, ",")}, "sort": {"id"}, "offset": {strconv.Itoa(len(all))}, "limit": {strconv.Itoa(pageSize)}}
		if _, err := c.read(ctx, "/services", query, &page); err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		all = append(all, page.Services...)
		if len(page.Services) == 0 || len(all) >= page.Total {
			return all, nil
		}
	}
}

// Service returns one service.
func (c *Client) Service(ctx context.Context, id int) (Service, error) {
	var service Service
	answer, err := c.read(ctx, fmt.Sprintf("/services/%d", id), nil, &service)
	service.ETag = answer.ETag
	return service, err
}

// Why returns why a service is in its state.
func (c *Client) Why(ctx context.Context, id int) (Why, error) {
	var why Why
	_, err := c.read(ctx, fmt.Sprintf("/services/%d/why", id), nil, &why)
	return why, err
}

// Body returns the JSON of a service or a service template, and its ETag. Path is that of OneFlow's call: /service/3 or
// /service_template/7.
func (c *Client) Body(ctx context.Context, path string) (body json.RawMessage, etag string, err error) {
	var answer struct {
		Document struct {
			Template struct {
				Body json.RawMessage `json:"BODY"`
			} `json:"TEMPLATE"`
		} `json:"DOCUMENT"`
	}
	got, err := c.read(ctx, path, nil, &answer)
	return answer.Document.Template.Body, got.ETag, err
}

// Made returns the id and the name in the answer to a call that has made a service or a template.
func (a Answer) Made() (id int, name string, err error) {
	var made struct {
		Document struct {
			ID   string `json:"ID"`
			Name string `json:"NAME"`
		} `json:"DOCUMENT"`
	}
	if err := json.Unmarshal(a.Body, &made); err != nil {
		return 0, "", fmt.Errorf("the answer has no id: %w", err)
	}
	id, err = strconv.Atoi(made.Document.ID)
	return id, made.Document.Name, err
}

// queuedPause is the time between two polls of a command.
const queuedPause = 500 * time.Millisecond

// Await returns when the queued command at an answer's Location has been carried out. It returns an error if the command
// was refused.
func (c *Client) Await(ctx context.Context, location string) error {
	for {
		var command struct {
			State   string `json:"state"`
			Message string `json:"message"`
		}
		if _, err := c.read(ctx, strings.TrimPrefix(location, prefix), nil, &command); err != nil {
			return err
		}
		switch command.State {
		case "done":
			return nil
		case "refused":
			return &Error{Status: http.StatusConflict, Detail: command.Message}
		}
		if err := idle.For(ctx, queuedPause); err != nil {
			return err
		}
	}
}

// Templates lists the service templates that the user may see, by name.
func (c *Client) Templates(ctx context.Context) ([]schema.Template, error) {
	var answer struct {
		Templates []schema.Template `json:"templates"`
	}
	if _, err := c.read(ctx, "/templates", nil, &answer); err != nil {
		return nil, fmt.Errorf("list service templates: %w", err)
	}
	return answer.Templates, nil
}

// Event is an event of a service.
type Event struct {
	Service int `json:"service"`
	flow.Change
	Time time.Time `json:"time"`
}

// maxEvent bounds one line of the stream of events.
const maxEvent = 1 << 20

// followPause is the pause before a stream that has ended is opened again.
const followPause = time.Second

// Follow calls handle for the events of a service (-1 for all that the user may see), until ctx ends. With begin it starts
// with the oldest known event, else with the first one after opened was called. A stream that breaks is opened again after
// the last event.
func (c *Client) Follow(ctx context.Context, service int, begin bool, opened func(), handle func(Event)) error {
	query := url.Values{}
	if service >= 0 {
		query.Set("service", strconv.Itoa(service))
	}
	if begin {
		query.Set("since", "0")
	}
	for ctx.Err() == nil {
		response, err := c.send(ctx, Request{Method: http.MethodGet, Path: "/events", Query: query}, nil)
		if err == nil && response.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(response.Body, maxEvent)) // as much as arrives
			response.Body.Close()
			if pauseOf(response) < 0 {
				return c.refusal(response.StatusCode, text)
			}
		} else if err == nil {
			if opened != nil {
				opened()
				opened = nil
			}
			if last := readEvents(response.Body, handle); last != "" {
				query.Set("since", last)
			}
			response.Body.Close()
		}
		_ = idle.For(ctx, followPause) // it ends with ctx
	}
	return ctx.Err()
}

// readEvents reads server-sent events until the stream ends, and returns the last one's id.
func readEvents(stream io.Reader, handle func(Event)) (last string) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			last = value
		case "data":
			var event Event
			if json.Unmarshal([]byte(value), &event) == nil {
				handle(event)
			}
		}
	}
	return last
}
