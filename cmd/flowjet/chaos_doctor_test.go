package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// checked is a finding of doctor.
type checked struct{ Check, Weight, Message string }

// doctor runs `flowjet doctor` as an operator would, and returns what it found.
func (c *chaos) doctor() (found []checked, said string) {
	c.t.Helper()
	asked := c.cloud
	asked.data, asked.nats = c.t.TempDir(), c.plan.FrontEnds[0]+":1" // not asked: the servers are named
	asked.xmlrpc = fmt.Sprintf("%s:%d", c.plan.Oneds[0], c.plan.Ports.XMLRPC)
	o := newOperator(c.t, asked)
	out, failed, _ := o.types("doctor", "-o", "json", "--nats-url", c.urls, "--nats-nkey-file", filepath.Join(c.plan.Keys(), "operator.nk"),
		"--one-xmlrpc", fmt.Sprintf("http://%s:%d/RPC2", c.plan.Oneds[0], c.plan.Ports.XMLRPC), "--one-auth-file", c.plan.AuthFile(), "--data-dir", c.t.TempDir())
	_ = json.Unmarshal([]byte(out), &found)
	return found, out + failed
}

// checkDoctor: what was broken works again, and soon doctor tells of nothing that
// does not. Warnings of what has been, as of events that were lost, may remain, and
// what it says of this machine's own disk.
func (c *chaos) checkDoctor() {
	c.t.Helper()
	wrong := func(one checked) bool {
		if strings.HasPrefix(one.Check, "disk") {
			return false
		}
		return one.Weight == "problem" || one.Weight == "warning" && !slices.Contains([]string{"events", "oned", "dead letters"}, one.Check)
	}
	var found []checked
	var said string
	for limit := time.Now().Add(poll.Limit); time.Now().Before(limit); {
		found, said = c.doctor()
		if len(found) > 0 && !slices.ContainsFunc(found, wrong) {
			break
		}
	}
	if len(found) == 0 {
		c.t.Errorf("doctor says nothing that can be read: %s", said)
	}
	for _, one := range slices.DeleteFunc(found, func(one checked) bool { return !wrong(one) }) {
		if one.Check == "timers" {
			c.logOverdue()
		}
		c.t.Errorf("all works again, and doctor says %s", strings.Join([]string{one.Weight, one.Check, one.Message}, ": "))
	}
}

// logOverdue logs the timers that are overdue, and whether JetStream has them.
func (c *chaos) logOverdue() {
	c.t.Helper()
	pipe, err := pipeline.Open(c.t.Context(), pipeline.Config{URL: c.urls, Name: "checker", Replicas: 3, Options: asOperator(c.t, c.plan.Keys())})
	if err != nil {
		c.t.Fatal(err)
	}
	defer pipe.Close()
	err = work.NewRecords(pipe).EachRecord(c.t.Context(), func(service int, record pipeline.Record) {
		for name, timer := range record.Timers {
			if time.Since(timer.Due) < time.Second {
				continue
			}
			stored := "JetStream has no message for it"
			if message, err := pipe.Stream(pipeline.StreamWork).Last(c.t.Context(), pipeline.TimerSubject(service, name)); err != nil {
				stored = err.Error()
			} else if message != nil {
				stored = fmt.Sprintf("JetStream has %d of %s: %v %s", message.Sequence, message.Time.UTC(), message.Header, message.Data)
			}
			c.t.Logf("timer %s of service %d (%s, deleted %t, applied %d) is %+v: %s", name, service, record.State.Service.State(), record.Deleted, record.Applied, timer, stored)
		}
	})
	if err != nil {
		c.t.Error(err)
	}
}
