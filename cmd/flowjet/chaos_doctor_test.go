package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// checked is a finding of doctor.
type checked struct{ Check, Weight, Message string }

// doctor runs `flowjet doctor` as an operator would, and returns what it found.
func (c *chaos) doctor() (found []checked, said string) {
	c.t.Helper()
	asked := c.cloud
	asked.data, asked.nats = c.t.TempDir(), c.plan.FrontEnds[0]+":1" // not asked: the servers are named
	asked.xmlrpc = fmt.Sprintf("%s:%d", c.plan.Oneds[0], c.plan.Ports.XMLRPC)
	o := newOperator(c.t, asked, c.plan.AuthFile())
	out, failed, _ := o.types("doctor", "-o", "json", "--nats-url", c.urls, "--nats-nkey-file", filepath.Join(c.plan.Keys(), "operator.nk"),
		"--one-xmlrpc", fmt.Sprintf("http://%s:%d/RPC2", c.plan.Oneds[0], c.plan.Ports.XMLRPC), "--data-dir", c.t.TempDir())
	_ = json.Unmarshal([]byte(out), &found)
	return found, out + failed
}

// checkDoctor: what was broken works again, and a minute later doctor tells of nothing that
// does not. Warnings of what has been, as of events that were lost, may remain.
func (c *chaos) checkDoctor() {
	c.t.Helper()
	wrong := func(one checked) bool {
		return one.Weight == "problem" || one.Weight == "warning" && !slices.Contains([]string{"events", "oned", "dead letters"}, one.Check)
	}
	var found []checked
	var said string
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		found, said = c.doctor()
		if len(found) > 0 && !slices.ContainsFunc(found, wrong) {
			break
		}
	}
	if len(found) == 0 {
		c.t.Errorf("doctor says nothing that can be read: %s", said)
	}
	for _, one := range slices.DeleteFunc(found, func(one checked) bool { return !wrong(one) }) {
		c.t.Errorf("all works again, and doctor says %s", strings.Join([]string{one.Weight, one.Check, one.Message}, ": "))
	}
}
