package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// journal counts what clients did, and keeps what was promised to them.
type journal struct {
	accepted, refused, unanswered atomic.Int64
	mutex                         sync.Mutex
	wanted                        map[int][]int    // service -> cardinalities of Master that may be
	asked                         map[int][]string // service -> what was asked of it, with the status of the answer
	removed                       map[int]bool     // services whose removal was accepted
}

func (j *journal) String() string {
	return fmt.Sprintf("%d requests accepted, %d refused, %d without an answer", j.accepted.Load(), j.refused.Load(), j.unanswered.Load())
}

// promise notes which cardinality the service has from now on.
func (j *journal) promise(service, cardinality int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.wanted == nil {
		j.wanted, j.removed, j.asked = map[int][]int{}, map[int]bool{}, map[int][]string{}
	}
	j.wanted[service] = []int{cardinality}
}

// allow notes a further cardinality that the service may have: what was asked for and
// not answered may be carried out, now or later, or not at all.
func (j *journal) allow(service, cardinality int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.wanted[service] = append(j.wanted[service], cardinality)
}

// mayHave reports whether the service may have the cardinality; story is what led to that.
func (j *journal) mayHave(service, cardinality int) (may bool, story string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	wanted, known := j.wanted[service]
	return !known || slices.Contains(wanted, cardinality), fmt.Sprintf("it may have %v after %s", wanted, strings.Join(j.asked[service], ", "))
}

func (j *journal) tell(service int, what string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.asked[service] = append(j.asked[service], what)
}

func (j *journal) remove(service int) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.removed[service] = true
}

// client is one user of the campaign, with services of its own.
type client struct {
	*chaos
	random    *rand.Rand
	templates []int
}

// run takes service after service through its life until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		service := c.create(ctx)
		if service < 0 {
			continue
		}
		c.log.promise(service, 2)
		for range 1 + c.random.IntN(3) {
			if !c.comesTo(ctx, service, 2) {
				return
			}
			c.change(ctx, service)
		}
		if c.comesTo(ctx, service, 2) && c.random.IntN(2) == 0 {
			if c.ask(ctx, http.MethodDelete, fmt.Sprintf("/service/%d", service), "") == http.StatusNoContent {
				c.log.remove(service)
			}
		}
	}
}

// create instantiates; -1 when it is not known to have done so.
func (c *client) create(ctx context.Context) int {
	status, answer := c.send(ctx, http.MethodPost, fmt.Sprintf("/service_template/%d/action", c.templates[c.random.IntN(len(c.templates))]), `{"action": {"perform": "instantiate"}}`)
	if status != http.StatusCreated {
		return -1
	}
	return c.id(c.t, answer)
}

// change scales the role Master, or powers one VM off.
func (c *client) change(ctx context.Context, service int) {
	if c.random.IntN(3) == 0 {
		c.trip(service)
		return
	}
	before, cardinality := c.cardinality(ctx, service), 1+c.random.IntN(4)
	if before < 0 {
		return
	}
	if may, story := c.log.mayHave(service, before); !may && !c.readsSoon(ctx, service) {
		c.t.Errorf("service %d: role Master is read with cardinality %d: %s", service, before, story)
	}
	body := fmt.Sprintf(`{"role_name": "Master", "cardinality": %d, "force": true}`, cardinality)
	status := c.ask(ctx, http.MethodPost, fmt.Sprintf("/service/%d/scale", service), body)
	c.log.tell(service, fmt.Sprintf("%s: from %d to %d: %d", time.Now().Format(time.TimeOnly), before, cardinality, status))
	switch status {
	case http.StatusNoContent:
		c.log.promise(service, cardinality)
	case http.StatusInternalServerError, http.StatusConflict:
	default:
		c.log.allow(service, cardinality)
	}
}

// readsSoon reports whether what the service may have is read within as long as
// a oned that has just lost the zone's leadership may be read from, or the
// campaign ends.
func (c *client) readsSoon(ctx context.Context, service int) bool {
	limited, cancel := context.WithTimeout(ctx, staleReads)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if may, _ := c.log.mayHave(service, c.cardinality(ctx, service)); may {
			return true
		}
		select {
		case <-ticker.C:
		case <-limited.Done():
			return ctx.Err() != nil
		}
	}
}

// staleReads is for how long a document may be read that is no longer so.
const staleReads = 15 * time.Second

// trip powers a VM off: the service goes to WARNING, and somebody recovers it.
func (c *client) trip(service int) {
	vms := c.vms(c.t, service)
	if len(vms) == 0 {
		return
	}
	victim := vms[c.random.IntN(len(vms))].ID
	c.try(c.t, "POST", fmt.Sprintf("http://%s/vms/%d/poweroff", c.control, victim), "")
}

func (c *client) cardinality(ctx context.Context, service int) int {
	status, answer := c.send(ctx, http.MethodGet, fmt.Sprintf("/service/%d", service), "")
	if status != http.StatusOK {
		return -1
	}
	var document serviceDocument
	if json.Unmarshal(answer, &document) != nil || len(document.Document.Template.Body.Roles) == 0 {
		return -1
	}
	return document.Document.Template.Body.Roles[0].Cardinality
}

// comesTo waits for a state, recovering what has failed; false when ctx ended.
func (c *client) comesTo(ctx context.Context, service, state int) bool {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		found := c.stateAt(ctx, service)
		if found == state {
			return true
		}
		if recoverable(found) {
			c.ask(ctx, http.MethodPost, fmt.Sprintf("/service/%d/action", service), `{"action": {"perform": "recover", "params": {}}}`)
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

func (c *client) stateAt(ctx context.Context, service int) int {
	status, answer := c.send(ctx, http.MethodGet, fmt.Sprintf("/service/%d", service), "")
	var document serviceDocument
	if status != http.StatusOK || json.Unmarshal(answer, &document) != nil {
		return -1
	}
	return document.Document.Template.Body.State
}

// ask sends a change and counts its outcome.
func (c *client) ask(ctx context.Context, method, path, body string) int {
	status, _ := c.send(ctx, method, path, body)
	switch {
	case status >= 200 && status < 300:
		c.log.accepted.Add(1)
	case status == 0 || status == http.StatusServiceUnavailable:
		c.log.unanswered.Add(1)
	default:
		c.log.refused.Add(1)
	}
	return status
}

// send asks a random API.
func (c *client) send(ctx context.Context, method, path, body string) (int, []byte) {
	limited, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	url := "http://" + c.apis[c.random.IntN(len(c.apis))] + path
	request, err := http.NewRequestWithContext(limited, method, url, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	return send(c.t, request)
}

// serviceDocument is what the campaign reads of a service.
type serviceDocument struct {
	Document struct {
		ID       int `json:"ID,string"`
		Template struct {
			Body struct {
				State    int               `json:"state"`
				Networks []json.RawMessage `json:"networks_values"`
				Roles    []struct {
					Name        string `json:"name"`
					State       int    `json:"state"`
					Cardinality int    `json:"cardinality"`
					Nodes       []struct {
						DeployID int `json:"deploy_id"`
					} `json:"nodes"`
				} `json:"roles"`
			} `json:"BODY"`
		} `json:"TEMPLATE"`
	} `json:"DOCUMENT"`
}
