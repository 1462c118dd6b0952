package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// pools are the objects of oned's that are stored and replicated.
type pools struct {
	users       pool[user]
	groups      pool[group]
	documents   pool[document]
	templates   pool[vmTemplate]
	vms         pool[vm]
	networks    pool[network]
	vnTemplates pool[vnTemplate]
	vrouters    pool[vrouter]
	// next is the next id of each kind; it only grows.
	next map[string]int
}

func newPools() pools {
	return pools{
		users: pool[user]{}, groups: pool[group]{}, documents: pool[document]{},
		templates: pool[vmTemplate]{}, vms: pool[vm]{}, networks: pool[network]{},
		vnTemplates: pool[vnTemplate]{}, vrouters: pool[vrouter]{}, next: map[string]int{},
	}
}

// pool returns the pool of the records of a kind; nil for what is none of a pool.
func (p *pools) pool(kind string) records {
	switch kind {
	case kindUser:
		return p.users
	case kindGroup:
		return p.groups
	case kindDocument:
		return p.documents
	case kindTemplate:
		return p.templates
	case kindVM:
		return p.vms
	case kindNetwork:
		return p.networks
	case kindVNTemplate:
		return p.vnTemplates
	case kindVRouter:
		return p.vrouters
	}
	return nil
}

// restore reads the state file ; false where it is new.
func (p *pools) restore(s *store) (bool, error) {
	found := false
	err := s.load(func(kind, idText string, content []byte) error {
		found = true
		id, err := strconv.Atoi(idText)
		if err == nil {
			err = p.restoreRecord(kind, id, content)
		}
		if err != nil {
			return fmt.Errorf("read %s %s of the state file: %w: remove the file to begin anew", kind, idText, err)
		}
		return nil
	})
	return found, err
}

func (p *pools) restoreRecord(kind string, id int, content []byte) error {
	all := p.pool(kind)
	switch {
	case kind == kindNext:
		return json.Unmarshal(content, &p.next)
	case kind == kindVMTexts:
		return p.restoreVMTexts(id, content)
	case all == nil:
		return fmt.Errorf("unknown kind %q", kind)
	}
	if err := all.restore(id, content); err != nil || kind != kindVM {
		return err
	}
	// A VM's texts follow. State files of before have them in the same record,
	// out of which they move with the VM's next change.
	texts := &p.vms[id].vmTexts
	err := json.Unmarshal(content, texts)
	texts.unsaved = texts.Template != nil
	return err
}

func (p *pools) restoreVMTexts(id int, content []byte) error {
	v := p.vms[id]
	if v == nil {
		return errors.New("there is no such VM")
	}
	return json.Unmarshal(content, &v.vmTexts)
}

// put sets or removes an object of a replica.
func (p *pools) put(key recordKey, item any) {
	if key.id >= p.next[key.kind] {
		p.next[key.kind] = key.id + 1
	}
	p.pool(key.kind).put(key.id, item)
}

// copies are copies of everything that replicates.
func (p *pools) copies() []copied {
	var all []copied
	for _, kind := range []string{
		kindUser, kindGroup, kindDocument, kindTemplate, kindVM, kindNetwork, kindVNTemplate, kindVRouter,
	} {
		items := p.pool(kind)
		for _, id := range items.ids() {
			all = append(all, copied{recordKey{kind, id}, items.copyOf(items.at(id))})
		}
	}
	return all
}
