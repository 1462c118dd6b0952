// Package demo takes a running Flowjet through the whole life of a service, as
// a user would: over the OneFlow API, with one VM powered off at oned.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// Config says where everything is.
type Config struct {
	API, NATS, XMLRPC string
	User              string
	// NkeyFile is the operator's key to NATS; empty where NATS asks for none.
	NkeyFile string
	// PasswordFile holds the user's password; empty means the simulator's.
	PasswordFile string
	// Patience is how long a step may take.
	Patience time.Duration
	Out      io.Writer
}

// tour is one run of the demo.
type tour struct {
	config   Config
	api      *client
	oned     *opennebula.Client
	session  *opennebula.Session
	timeline *timeline
	template int
	service  int
}

// Run goes through every step and prints the timeline; the first step that does
// not lead where it should is the error.
func Run(ctx context.Context, config Config) error {
	password, err := readPassword(config.PasswordFile)
	if err != nil {
		return err
	}
	t := &tour{config: config, api: newClient(config.API, config.User, password)}
	t.oned = opennebula.NewClient(opennebula.Config{Endpoint: config.XMLRPC, Timeout: 10 * time.Second})
	defer t.oned.Close()
	t.session = t.oned.With(config.User, password)
	if t.timeline, err = watch(config.NATS, config.NkeyFile); err != nil {
		return err
	}
	defer t.timeline.close()
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"create the template: Master, and Slave with parents [Master]", t.createTemplate},
		{"instantiate it and wait for RUNNING", t.instantiate},
		{"scale Master to 3", func(ctx context.Context) error { return t.scale(ctx, 3) }},
		{"scale Master back to 1", func(ctx context.Context) error { return t.scale(ctx, 1) }},
		{"power off a VM and wait for WARNING", t.powerOff},
		{"resume it and wait for RUNNING", t.resume},
		{"undeploy", t.undeploy},
	}
	for i, step := range steps {
		began := time.Now()
		fmt.Fprintf(config.Out, "%d/%d %-62s ", i+1, len(steps), step.name)
		if err := t.patiently(ctx, step.run); err != nil {
			fmt.Fprintln(config.Out, "failed")
			return fmt.Errorf("demo: %s: %w", step.name, err)
		}
		fmt.Fprintf(config.Out, "%6d ms\n", time.Since(began).Milliseconds())
	}
	return t.timeline.print(config.Out, t.service)
}

func readPassword(path string) (string, error) {
	if path == "" {
		return "opennebula", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the password file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (t *tour) patiently(ctx context.Context, step func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, t.config.Patience)
	defer cancel()
	return step(limited)
}

const templateText = `{
  "name": "demo", "deployment": "straight",
  "roles": [
    {"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0, "min_vms": 1, "max_vms": 4, "cooldown": 1},
    {"name": "Slave", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["Master"], "cooldown": 1}
  ]}`

func (t *tour) createTemplate(ctx context.Context) error {
	made, err := t.api.document(ctx, "POST", "/service_template", templateText)
	t.template = made.id
	return err
}

func (t *tour) instantiate(ctx context.Context) error {
	path := fmt.Sprintf("/service_template/%d/action", t.template)
	made, err := t.api.document(ctx, "POST", path, `{"action": {"perform": "instantiate"}}`)
	if err != nil {
		return err
	}
	t.service = made.id
	return t.waitFor(ctx, flow.ServiceRunning)
}

func (t *tour) path() string { return fmt.Sprintf("/service/%d", t.service) }

func (t *tour) scale(ctx context.Context, cardinality int) error {
	body := fmt.Sprintf(`{"role_name": "Master", "cardinality": %d, "force": false}`, cardinality)
	if err := t.api.call(ctx, "POST", t.path()+"/scale", body); err != nil {
		return err
	}
	if err := t.waitFor(ctx, flow.ServiceRunning); err != nil {
		return err
	}
	service, err := t.api.document(ctx, "GET", t.path(), "")
	if err != nil {
		return err
	}
	if have := len(service.body.Roles[0].Nodes); have != cardinality {
		return fmt.Errorf("role Master has %d VMs, not %d", have, cardinality)
	}
	return nil
}

// slaveVM is the VM that the demo powers off.
func (t *tour) slaveVM(ctx context.Context) (int, error) {
	service, err := t.api.document(ctx, "GET", t.path(), "")
	if err != nil {
		return 0, err
	}
	if len(service.body.Roles) < 2 || len(service.body.Roles[1].Nodes) == 0 {
		return 0, errors.New("role Slave has no VM")
	}
	return service.body.Roles[1].Nodes[0].DeployID, nil
}

func (t *tour) powerOff(ctx context.Context) error {
	vm, err := t.slaveVM(ctx)
	if err != nil {
		return err
	}
	if err := t.session.ActOnVM(ctx, "poweroff", vm); err != nil {
		return err
	}
	return t.waitFor(ctx, flow.ServiceWarning)
}

func (t *tour) resume(ctx context.Context) error {
	vm, err := t.slaveVM(ctx)
	if err != nil {
		return err
	}
	if err := t.session.ActOnVM(ctx, "resume", vm); err != nil {
		return err
	}
	return t.waitFor(ctx, flow.ServiceRunning)
}

func (t *tour) undeploy(ctx context.Context) error {
	if err := t.api.call(ctx, "DELETE", t.path(), ""); err != nil {
		return err
	}
	if err := t.timeline.waitFor(ctx, t.service, "DELETED"); err != nil {
		return err
	}
	return t.api.call(ctx, "DELETE", fmt.Sprintf("/service_template/%d", t.template), "")
}

// waitFor waits until the service's history has come to the state, and makes
// sure that its document says the same.
func (t *tour) waitFor(ctx context.Context, state flow.ServiceState) error {
	if err := t.timeline.waitFor(ctx, t.service, state.String()); err != nil {
		return err
	}
	service, err := t.api.document(ctx, "GET", t.path(), "")
	if err != nil {
		return err
	}
	found := flow.Service{Body: service.body}.State()
	if found != state {
		return fmt.Errorf("the document of service %d says %s where its history says %s", t.service, found, state)
	}
	return nil
}
