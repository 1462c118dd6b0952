package sim

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Population is a number of services that have been running for a while, for
// tests of size: deploying them one by one would take hours.
type Population struct {
	Services int `json:"services"`
	// Roles is how many roles a service has, each the parent of the next.
	Roles int `json:"roles"`
	// VMs is how many VMs a role has.
	VMs int `json:"vms"`
}

// populationStep is how many services are made under one hold of the lock.
const populationStep = 50

// Populate adds services of oneadmin's whose VMs run, as if they had been there
// before anybody listened: no event tells of them.
func (s *Sim) Populate(p Population) error {
	if p.Services < 0 || p.Roles < 1 || p.VMs < 0 {
		return errors.New("populate the zone: there must be at least one role, and no negative number")
	}
	for first := 0; first < p.Services; first += populationStep {
		var refused *refusal
		wait := s.db.update(func(t *tx) {
			for range min(populationStep, p.Services-first) {
				if refused = populateService(t, p); refused != nil {
					return
				}
			}
		})
		if err := wait(); err != nil {
			return fmt.Errorf("populate the zone: %w", err)
		}
		if refused != nil {
			return fmt.Errorf("populate the zone: %s", refused.message)
		}
	}
	return nil
}

// The states of a service and of a role that runs.
const (
	serviceRunning = 2
	roleRunning    = 2
	serviceType    = 100
)

type populatedBody struct {
	Name       string          `json:"name"`
	Deployment string          `json:"deployment"`
	Roles      []populatedRole `json:"roles"`
	State      int             `json:"state"`
	StartTime  int64           `json:"start_time"`
}

type populatedRole struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Cardinality int             `json:"cardinality"`
	TemplateID  int             `json:"template_id"`
	Parents     []string        `json:"parents,omitempty"`
	Cooldown    int             `json:"cooldown"`
	State       int             `json:"state"`
	Nodes       []populatedNode `json:"nodes"`
	OnHold      bool            `json:"on_hold"`
	LastVMName  int             `json:"last_vmname"`
}

type populatedNode struct {
	DeployID int `json:"deploy_id"`
	VMInfo   struct {
		VM struct {
			ID    string `json:"ID"`
			UID   string `json:"UID"`
			GID   string `json:"GID"`
			UName string `json:"UNAME"`
			GName string `json:"GNAME"`
			Name  string `json:"NAME"`
		} `json:"VM"`
	} `json:"vm_info"`
}

// populateService adds one running service.
func populateService(t *tx, p Population) *refusal {
	who := scheduler(t.cloud)
	id := t.nextID(kindDocument)
	body := populatedBody{
		Name: "service-" + itoa(id), Deployment: "straight", State: serviceRunning, StartTime: now(),
	}
	for n := range p.Roles {
		role := populatedRole{
			Name: "role" + itoa(n), Type: "vm", Cardinality: p.VMs, State: roleRunning, LastVMName: p.VMs,
			Nodes: []populatedNode{},
		}
		if n > 0 {
			role.Parents = []string{"role" + itoa(n-1)}
		}
		for i := range p.VMs {
			made, refused := populateVM(t, who, id, role.Name, i)
			if refused != nil {
				return refused
			}
			role.Nodes = append(role.Nodes, nodeOf(made))
		}
		body.Roles = append(body.Roles, role)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return badTemplate(err)
	}
	made := &document{object: t.cloud.owned(id, body.Name, who), Type: serviceType, Template: template{single("BODY", string(text))}}
	documents.save(t, made)
	return nil
}

// populateVM adds a VM of a service's role that runs.
func populateVM(t *tx, who identity, service int, role string, number int) (*vm, *refusal) {
	name := fmt.Sprintf("%s_%d_(service_%d)", role, number, service)
	v, refused := t.makeVM(who, order{from: t.cloud.templates[0], name: name, extra: template{
		single("SERVICE_ID", itoa(service)), single("ROLE_NAME", role),
		single("FLOWJET_KEY", fmt.Sprintf("%d-%s-%d-%d", service, role, number, now())),
	}})
	if refused != nil {
		return nil, refused
	}
	h := t.cloud.hosts.pick(v)
	if h == nil {
		return nil, &refusal{message: "the hosts are full"}
	}
	h.take(v)
	v.History = append(v.History, newHistory(0, h))
	for _, step := range []status{active(lcmProlog), active(lcmBoot), running} {
		v.State, v.LCM, v.PrevState, v.PrevLCM = step.state, step.lcm, step.state, step.lcm
		t.recordStay(v, step)
	}
	t.keepVM(v)
	return v, nil
}

func nodeOf(v *vm) populatedNode {
	node := populatedNode{DeployID: v.ID}
	shown := &node.VMInfo.VM
	shown.ID, shown.UID, shown.GID = itoa(v.ID), itoa(v.UID), itoa(v.GID)
	shown.UName, shown.GName, shown.Name = v.UName, v.GName, v.Name
	return node
}
