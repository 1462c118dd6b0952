package consumers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

// What is made for a service is made as its owner, with the group that the service has: so
// are the VMs of one that was given to another group, or made with a token for one group. Only
// in a group that the owner is in: oned takes a server user's word for any, and the rights of
// group 0 are an administrator's. Where he is not in it, what was made is given to the group.

const (
	// trustGroup is for how long a user's primary group is remembered.
	trustGroup = 5 * time.Minute
	maxGroups  = 10_000
)

// usersGroups remembers the groups that users are in.
type usersGroups struct {
	oned *opennebula.Client

	mutex sync.Mutex
	known map[int]userGroups // by uid
}

// userGroups are a user's primary group and all of them; -1 and none for a user that oned
// does not have.
type userGroups struct {
	primary int
	all     []int
	until   time.Time
}

func (g *usersGroups) of(ctx context.Context, uid int) (userGroups, error) {
	g.mutex.Lock()
	held, has := g.known[uid]
	g.mutex.Unlock()
	if has && time.Now().Before(held.until) {
		return held, nil
	}
	user, err := g.oned.Server().User(ctx, uid)
	held = userGroups{user.Identity.GID, user.Groups, time.Now().Add(trustGroup)}
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		held.primary, held.all = -1, nil
	case err != nil:
		return userGroups{}, fmt.Errorf("ask for the groups of user %d: %w", uid, err)
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.known == nil || len(g.known) >= maxGroups {
		g.known = map[int]userGroups{}
	}
	g.known[uid] = held
	return held, nil
}

// actor is as whom calls are made.
type actor struct {
	*serviceLoop
	// acts is as whom calls are made for the owner actsFor.
	acts     string
	actsFor  one.Identity
	regroups bool // what is made is given to the service's group afterwards
}

// actAs finds out as whom calls for a service are made: its owner, and in the service's group
// alone where that is not the owner's primary one.
func (a *actor) actAs(ctx context.Context, owner one.Identity) error {
	if a.acts != "" && a.actsFor == owner {
		return nil
	}
	groups, err := a.worker.groups.of(ctx, owner.UID)
	if err != nil {
		return err
	}
	a.acts, a.actsFor, a.regroups = owner.UName, owner, false
	switch {
	case groups.primary < 0 || groups.primary == owner.GID:
	case slices.Contains(groups.all, owner.GID):
		a.acts += ":" + strconv.Itoa(owner.GID)
	default:
		a.regroups = true
	}
	return nil
}

// session is oned's for the service's owner: everything done to VMs is done as
// the owner, with the owner's rights and no more.
func (a *actor) session() *opennebula.Session {
	owner := a.record.State.Service.Owner
	if a.acts != "" && a.actsFor == owner {
		return a.worker.oned.For(a.acts)
	}
	return a.worker.oned.For(owner.UName)
}
