package client

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// Event is something that happened to a service.
type Event struct {
	Service int `json:"service"`
	flow.Change
	Time time.Time `json:"time"`
}

// maxEvent bounds one line of the stream of events.
const maxEvent = 1 << 20

// followPause is the time before a stream that has ended is opened again.
const followPause = time.Second

// Follow calls handle for what happens to a service (-1 for all that the user may see), until ctx ends. With
// begin it starts with the oldest that is known, else, once opened was called, with what comes.
// A stream that breaks is opened again behind the last event.
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
			text, _ := io.ReadAll(io.LimitReader(response.Body, maxEvent)) // what there is of it
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
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
		}
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
