// Package demo takes a running Flowjet through the whole life of a service, as
// a user would: over the OneFlow API, with one VM powered off at oned.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// Config has the addresses and credentials.
type Config struct {
	API, NATS, XMLRPC string
	User              string
	DataDir           string        // has the operator's key to NATS
	NkeyFile          string        // the key to use instead
	PasswordFile      string        // holds the user's password; empty means the simulator's
	Patience          time.Duration // how long a step may take
	Out               io.Writer
}

// tour is one run of the demo.
type tour struct {
	api      *client.Client
	session  *opennebula.Session
	timeline *timeline
	template int
	service  int
}

// Run takes every step and prints the timeline; it returns an error for the first step with an unexpected result.
func Run(ctx context.Context, config Config) error {
	password := "opennebula"
	if config.PasswordFile != "" {
		text, err := os.ReadFile(config.PasswordFile)
		if err != nil {
			return fmt.Errorf("read the password file: %w", err)
		}
		password = strings.TrimSpace(string(text))
	}
	api, err := client.New(client.Credentials{Endpoint: config.API, User: config.User, Password: password})
	if err != nil {
		return err
	}
	defer api.Close()
	oned := opennebula.NewClient(opennebula.Config{Endpoint: config.XMLRPC, Timeout: 10 * time.Second})
	defer oned.Close()
	t := &tour{api: api, session: oned.With(config.User, password)}
	if t.timeline, err = watch(ctx, config); err != nil {
		return err
	}
	defer t.timeline.pipe.Close()
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"create the template: Master, and Slave with parents [Master]", t.createTemplate},
		{"instantiate it and wait for RUNNING", t.instantiate},
		{"scale Master to 3", func(ctx context.Context) error { return t.scale(ctx, 3) }},
		{"scale Master back to 1", func(ctx context.Context) error { return t.scale(ctx, 1) }},
		{"power off a VM and wait for WARNING", func(ctx context.Context) error { return t.actOnSlave(ctx, "poweroff", spec.ServiceWarning) }},
		{"resume it and wait for RUNNING", func(ctx context.Context) error { return t.actOnSlave(ctx, "resume", spec.ServiceRunning) }},
		{"undeploy", t.undeploy},
	}
	for i, step := range steps {
		began := time.Now()
		fmt.Fprintf(config.Out, "%d/%d %-62s ", i+1, len(steps), step.name)
		limited, cancel := context.WithTimeout(ctx, config.Patience)
		err := step.run(limited)
		cancel()
		if err != nil {
			fmt.Fprintln(config.Out, "failed")
			return fmt.Errorf("demo: %s: %w", step.name, err)
		}
		fmt.Fprintf(config.Out, "%6d ms\n", time.Since(began).Milliseconds())
	}
	return t.timeline.print(config.Out, t.service)
}

const templateText = `{
  "name": "demo", "deployment": "straight",
  "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0, "min_vms": 1, "max_vms": 4, "cooldown": 1},
    {"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["Master"], "cooldown": 1}
  ]}`

// call sends a request; body is nil for none.
func (t *tour) call(ctx context.Context, method, path string, body any) (client.Answer, error) {
	answer, err := t.api.Do(ctx, client.Request{Method: method, Path: path, Body: body})
	if err != nil {
		err = fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, err
}

// body returns the body of the service's document.
func (t *tour) body(ctx context.Context) (spec.Body, error) {
	text, _, err := t.api.Body(ctx, t.path())
	if err != nil {
		return spec.Body{}, err
	}
	return spec.ParseBody(text)
}

func (t *tour) createTemplate(ctx context.Context) error {
	answer, err := t.call(ctx, http.MethodPost, "/service_template", json.RawMessage(templateText))
	if away, is := errors.AsType[*client.UnreachableError](err); is {
		return fmt.Errorf("the API at %s does not answer (%w): is `flowjet up --sim` running?", away.Endpoint, away.Err)
	}
	if err != nil {
		return err
	}
	t.template, _, err = answer.Made()
	return err
}

func (t *tour) instantiate(ctx context.Context) error {
	path := fmt.Sprintf("/service_template/%d/action", t.template)
	answer, err := t.call(ctx, http.MethodPost, path, json.RawMessage(`{"action": {"perform": "instantiate"}}`))
	if err != nil {
		return err
	}
	if t.service, _, err = answer.Made(); err != nil {
		return err
	}
	return t.waitFor(ctx, spec.ServiceRunning)
}

func (t *tour) path() string { return fmt.Sprintf("/service/%d", t.service) }

func (t *tour) scale(ctx context.Context, cardinality int) error {
	body := fmt.Sprintf(`{"role_name": "Master", "cardinality": %d, "force": false}`, cardinality)
	if _, err := t.call(ctx, http.MethodPost, t.path()+"/scale", json.RawMessage(body)); err != nil {
		return err
	}
	if err := t.waitFor(ctx, spec.ServiceRunning); err != nil {
		return err
	}
	service, err := t.body(ctx)
	if err == nil && len(service.Roles[0].Nodes) != cardinality {
		err = fmt.Errorf("role Master has %d VMs, not %d", len(service.Roles[0].Nodes), cardinality)
	}
	return err
}

// actOnSlave has oned act on the Slave's VM, and waits until the service has come to the state.
func (t *tour) actOnSlave(ctx context.Context, action string, state spec.ServiceState) error {
	service, err := t.body(ctx)
	if err != nil {
		return err
	}
	if len(service.Roles) < 2 || len(service.Roles[1].Nodes) == 0 {
		return errors.New("role Slave has no VM")
	}
	if err := t.session.ActOnVM(ctx, action, service.Roles[1].Nodes[0].DeployID); err != nil {
		return err
	}
	return t.waitFor(ctx, state)
}

func (t *tour) undeploy(ctx context.Context) error {
	if _, err := t.call(ctx, http.MethodDelete, t.path(), nil); err != nil {
		return err
	}
	if err := t.timeline.waitFor(ctx, t.service, "DELETED"); err != nil {
		return err
	}
	_, err := t.call(ctx, http.MethodDelete, fmt.Sprintf("/service_template/%d", t.template), nil)
	return err
}

// waitFor waits until the service's history has come to the state, and checks that its document has the same state.
func (t *tour) waitFor(ctx context.Context, state spec.ServiceState) error {
	if err := t.timeline.waitFor(ctx, t.service, state.String()); err != nil {
		return err
	}
	service, err := t.body(ctx)
	if found := (spec.Service{Body: service}).State(); err == nil && found != state {
		err = fmt.Errorf("the document of service %d has state %s, but its history %s", t.service, found, state)
	}
	return err
}

// timeline has the transitions that the workers publish.
type timeline struct {
	pipe   *pipeline.Pipeline
	reader *history.Reader
	read   []pipeline.Transition
}

// watch returns a timeline that begins now.
func watch(ctx context.Context, config Config) (*timeline, error) {
	configured := app.Config{DataDir: config.DataDir}
	configured.NATS.URL, configured.NATS.NkeyFile = config.NATS, config.NkeyFile
	connecting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pipe, _, err := configured.Attach(connecting, pipeline.Config{Role: pipeline.RoleOperator, Name: "flowjet demo"})
	if err != nil {
		return nil, fmt.Errorf("%w: is `flowjet up --sim` running, and is --data-dir its data folder?", err)
	}
	t, happened := &timeline{pipe: pipe}, history.New(pipe)
	last, err := happened.LastTransitionSequence(connecting)
	if err == nil {
		t.reader, err = happened.ReadTransitions(ctx, -1, last)
	}
	if err != nil {
		pipe.Close()
		return nil, fmt.Errorf("watch %s: %w", pipeline.SubjectsFlow, err)
	}
	return t, nil
}

// waitFor returns when the service has come to the state, at a point of its
// history that no earlier call has passed.
func (t *timeline) waitFor(ctx context.Context, service int, state string) error {
	for {
		_, transition, err := t.reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("service %d did not reach %s: %w", service, state, err)
		}
		t.read = append(t.read, transition)
		if transition.Service == service && transition.Kind == "service" && transition.New == state {
			return nil
		}
	}
}

// print writes the service's history with the milliseconds since it began.
func (t *timeline) print(out io.Writer, service int) error {
	fmt.Fprintf(out, "\nThe timeline of service %d, in milliseconds:\n\n", service)
	var began time.Time
	for _, transition := range t.read {
		if transition.Service != service {
			continue
		}
		if began.IsZero() {
			began = transition.Time
		}
		since := transition.Time.Sub(began)
		if _, err := fmt.Fprintf(out, "%9.1f  %s\n", float64(since.Microseconds())/1000, app.Sentence(transition)); err != nil {
			return err
		}
	}
	return nil
}
