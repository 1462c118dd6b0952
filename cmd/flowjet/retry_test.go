package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
)

// keyedCall sends a request with an Idempotency-Key; status 0 is no answer.
func (c cloud) keyedCall(t *testing.T, key, method, path, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.api+path, strings.NewReader(body))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Idempotency-Key", key)
	return send(t, request)
}

// outcome retries a request until it has an outcome, which comes soon after the API's end.
func (c cloud) outcome(t *testing.T, key, method, path, body string, want int) []byte {
	t.Helper()
	var text []byte
	poll.Until(t, "the retry of "+key+" to have an outcome", func() bool {
		var status int
		if status, text = c.keyedCall(t, key, method, path, body); status == want {
			return true
		}
		if status != 0 && status != http.StatusAccepted && status != http.StatusConflict && status != http.StatusServiceUnavailable {
			t.Fatalf("the retry of %s: %d %s", key, status, text)
		}
		return false
	})
	return text
}

// A request with a key is killed with everything, at several moments: its retry gets the
// outcome, and what it was for is done once.
func TestAKeyOutlivesAKill(t *testing.T) {
	c := newCloud(t)
	up := c.up(t)
	template := c.id(t, c.request(t, "POST", "/service_template", pair, http.StatusCreated))
	action := fmt.Sprintf("/service_template/%d/action", template)
	const instantiate = `{"action":{"perform":"instantiate"}}`
	made := map[int]bool{}
	for _, after := range []time.Duration{15, 45, 75, 150} {
		key := fmt.Sprintf("made-%d", after)
		c.slow(t, 20*time.Millisecond)
		go c.keyedCall(t, key, "POST", action, instantiate) //nolint:errcheck // it is killed
		<-time.After(after * time.Millisecond)
		up.kill()
		up.again()
		up.says("Ctrl-C stops")
		service := c.id(t, c.outcome(t, key, "POST", action, instantiate, http.StatusCreated))
		if made[service] {
			t.Errorf("service %d is the outcome of two requests", service)
		}
		made[service] = true
		poll.Until(t, "the service to run", func() bool { return c.state(t, service) == 2 })
	}
	_, all := c.try(t, "GET", "http://"+c.api+"/service", "")
	if count := strings.Count(string(all), `"registration_time"`); count != len(made) {
		t.Errorf("there are %d services, %d were asked for", count, len(made))
	}
	for service := range made {
		path := fmt.Sprintf("/service/%d", service)
		key := "ended-" + path[len("/service/"):]
		go c.keyedCall(t, key, "DELETE", path, "") //nolint:errcheck // it is killed
		<-time.After(time.Duration(20+30*service) * time.Millisecond)
		up.kill()
		up.again()
		up.says("Ctrl-C stops")
		c.outcome(t, key, "DELETE", path, "", http.StatusNoContent)
		poll.Until(t, "the service to be gone", func() bool { return c.state(t, service) < 0 })
		break // the others are not needed
	}
}

// locked locks a document, or unlocks it, straight at oned.
func (c cloud) locked(t *testing.T, document int, level string) {
	t.Helper()
	method := "one.document.unlock"
	if level != "" {
		method = "one.document.lock"
		level = "<param><value><int>" + level + "</int></value></param><param><value><boolean>0</boolean></value></param>"
	}
	call := fmt.Sprintf(`<?xml version="1.0"?><methodCall><methodName>%s</methodName><params><param><value><string>oneadmin:opennebula</string></value></param>`+
		`<param><value><int>%d</int></value></param>%s</params></methodCall>`, method, document, level)
	answer, err := http.Post("http://"+c.xmlrpc+"/RPC2", "text/xml", strings.NewReader(call))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(text), "<boolean>1</boolean>") {
		t.Fatalf("%s: %s %v", method, text, err)
	}
}

// A lock on a document is kept also after everything was killed, and so is what came before.
func TestALockOutlivesAKill(t *testing.T) {
	c := newCloud(t)
	up := c.up(t)
	service := c.instantiate(t, pair)
	poll.Until(t, "the service to run", func() bool { return c.state(t, service) == 2 })
	scale := fmt.Sprintf("/service/%d/scale", service)
	c.locked(t, service, "1")
	for range 2 {
		if status, text := c.try(t, "POST", "http://"+c.api+scale, `{"role_name":"Slave","cardinality":3}`); status != http.StatusUnauthorized {
			t.Errorf("a locked service: %d %s", status, text)
		}
		up.kill()
		up.again()
		up.says("Ctrl-C stops")
		poll.Until(t, "the API to serve", func() bool { return c.state(t, service) == 2 })
	}
	if vms := c.vms(t, service); len(vms) != 4 {
		t.Errorf("a locked service has %d VMs, not 4", len(vms))
	}
	c.locked(t, service, "")
	c.request(t, "POST", scale, `{"role_name":"Slave","cardinality":3}`, http.StatusNoContent)
	poll.Until(t, "the service to be scaled", func() bool { return c.state(t, service) == 2 && len(c.vms(t, service)) == 5 })
}
