package walk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

// client is what any client behind a balancer is: it goes from address to address,
// and repeats elsewhere what got no answer.
type client struct {
	addresses []string
	turn      int
	http      http.Client
	// repeated counts what had to be asked again.
	repeated int
}

func newClient(s *site) *client {
	c := &client{http: http.Client{Timeout: 10 * time.Second}}
	for _, m := range s.frontEnds {
		c.addresses = append(c.addresses, "http://"+m.address+":"+s.port)
	}
	return c
}

const (
	// mostAttempts are made for 20 s: an election of NATS's servers, which all share two
	// processors here, takes a part of that.
	mostAttempts = 100
	retryPause   = 200 * time.Millisecond
	// betweenRounds keeps a customer from being a benchmark.
	betweenRounds = 50 * time.Millisecond
)

// ask makes one request. A key makes it safe to repeat.
func (c *client) ask(ctx context.Context, method, path, body, key string) ([]byte, error) {
	var last error
	for attempt := range mostAttempts {
		if attempt > 0 {
			c.repeated++
			if err := idle.For(ctx, retryPause); err != nil {
				return nil, errors.Join(err, last)
			}
		}
		c.turn++
		answer, again, err := c.once(ctx, method, c.addresses[c.turn%len(c.addresses)]+path, body, key)
		if err == nil || !again {
			return answer, err
		}
		last = err
	}
	return nil, fmt.Errorf("after %d attempts: %w", mostAttempts, last)
}

// once reports whether a failed request may be repeated, as balancers do: without an
// answer, or with one that reports that the server cannot.
func (c *client) once(ctx context.Context, method, url, body, key string) (answer []byte, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	request.SetBasicAuth("oneadmin", "opennebula")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, true, err
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return nil, true, err
	}
	if response.StatusCode >= 300 {
		again := response.StatusCode >= http.StatusBadGateway
		return nil, again, fmt.Errorf("%s %s: %d %s", method, url, response.StatusCode, answer)
	}
	return answer, false, nil
}

// document is what is looked at of a service or template.
type document struct {
	ID       int    `json:"ID,string"`
	Name     string `json:"NAME"`
	Template struct {
		Body struct {
			State int `json:"state"`
		} `json:"BODY"`
	} `json:"TEMPLATE"`
}

func (c *client) document(ctx context.Context, method, path, body, key string) (document, error) {
	var found struct {
		Document document `json:"DOCUMENT"`
	}
	answer, err := c.ask(ctx, method, path, body, key)
	if err == nil {
		err = json.Unmarshal(answer, &found)
	}
	return found.Document, err
}

const pair = `{"name": "pair", "deployment": "straight", "roles": [
	{"name": "front", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["data"]},
	{"name": "data", "type": "vm", "cardinality": 1, "template_id": 0}]}`

// customer goes on making and reading services until it is stopped.
type customer struct {
	*client
	template int
	made     []int
	rounds   atomic.Int64
	err      error
	stop     context.CancelFunc
	ended    chan struct{}
}

func (s *site) newCustomer(t *testing.T) *customer {
	t.Helper()
	c := &customer{client: newClient(s), ended: make(chan struct{})}
	template, err := c.document(t.Context(), http.MethodPost, "/service_template", pair, "")
	must(t, err)
	c.template = template.ID
	var ctx context.Context
	ctx, c.stop = context.WithCancel(t.Context())
	t.Cleanup(c.stop)
	go func() {
		defer close(c.ended)
		for idle.For(ctx, betweenRounds) == nil && c.err == nil {
			c.err = c.round(t.Context())
			c.rounds.Add(1)
		}
	}()
	return c
}

// round makes a service and reads it, and the list.
func (c *customer) round(ctx context.Context) error {
	made, err := c.document(ctx, http.MethodPost, fmt.Sprintf("/service_template/%d/action", c.template),
		`{"action": {"perform": "instantiate"}}`, fmt.Sprintf("order-%d", len(c.made)))
	if err != nil {
		return err
	}
	c.made = append(c.made, made.ID)
	if _, err := c.document(ctx, http.MethodGet, fmt.Sprintf("/service/%d", made.ID), "", ""); err != nil {
		return err
	}
	_, err = c.ask(ctx, http.MethodGet, "/service", "", "")
	return err
}

// services are the ids and states of all services.
func (c *client) services(ctx context.Context) (map[int]int, error) {
	answer, err := c.ask(ctx, http.MethodGet, "/service", "", "")
	if err != nil {
		return nil, err
	}
	var list struct {
		Pool struct {
			Documents []document `json:"DOCUMENT"`
		} `json:"DOCUMENT_POOL"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, err
	}
	states := map[int]int{}
	for _, one := range list.Pool.Documents {
		states[one.ID] = one.Template.Body.State
	}
	return states, nil
}
