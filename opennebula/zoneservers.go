package opennebula

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// relearn is how often the zone is asked which servers it has.
	relearn = time.Minute
	// maxServers bounds how many servers of a zone are asked.
	maxServers = 16
)

// zoneServers knows which servers a zone has. One address given is enough: the zone
// lists the others. Of several given, only these are used, because the administrator
// knows which can be reached from here; one that is of another zone is left out.
type zoneServers struct {
	ask    asker
	logger *slog.Logger
	given  []string

	mutex   sync.Mutex
	zone    int
	known   []string // the given ones first
	foreign map[string]bool
	// listed are the addresses in the zone's own list.
	listed  []string
	learned time.Time
	// ids are the servers' ids in the zone, by address.
	ids map[string]int
}

func (z *zoneServers) ofZone(id int) {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	z.zone, z.learned = id, time.Time{}
}

// all returns the zone's servers, each by one address: a server that is configured by
// its loopback address is listed by another one.
func (z *zoneServers) all() (servers []string) {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	have := map[int]bool{}
	for _, endpoint := range z.known {
		id, told := z.ids[endpoint]
		if z.foreign[endpoint] || told && have[id] {
			continue
		}
		have[id] = have[id] || told
		servers = append(servers, endpoint)
	}
	return servers
}

// public returns the zone's servers as the zone lists them, for other hosts.
func (z *zoneServers) public() []string {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	return slices.Clone(z.listed)
}

// distinct notes the ids of the servers that answered, and leaves out answers of one
// that has answered by another address.
func (z *zoneServers) distinct(found []raftAnswer) []raftAnswer {
	z.mutex.Lock()
	for _, one := range found {
		if one.status.ServerID >= 0 {
			z.ids[one.endpoint] = one.status.ServerID
		}
	}
	z.mutex.Unlock()
	servers := z.all()
	return slices.DeleteFunc(found, func(one raftAnswer) bool { return !slices.Contains(servers, one.endpoint) })
}

func (z *zoneServers) several() bool { return len(z.all()) > 1 }

// asked returns when the zone was asked which servers it has, zero for never.
func (z *zoneServers) asked() time.Time {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	return z.learned
}

// add adds servers of the zone that were not known, and returns these.
func (z *zoneServers) add(endpoints ...string) (added []string) {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	for _, endpoint := range endpoints {
		if len(z.given) == 1 && endpoint != "" && !slices.Contains(z.known, endpoint) && len(z.known) < maxServers {
			z.known = append(z.known, endpoint)
			added = append(added, endpoint)
		}
	}
	return added
}

// complete asks those that answered which servers the zone has, where it is time for
// that, and returns the answers of all of them.
func (z *zoneServers) complete(known []string, found []raftAnswer, poll *raftPoll) []raftAnswer {
	if time.Since(z.asked()) <= relearn || len(found) == 0 {
		return found
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	lists := map[string][]string{}
	for _, one := range found {
		listed, err := z.ask.zoneServers(ctx, one.endpoint, z.zone)
		if err != nil {
			continue
		}
		var endpoints []string
		for _, server := range listed {
			endpoints = append(endpoints, server.Endpoint)
		}
		lists[one.endpoint] = endpoints
		if len(z.given) == 1 {
			break
		}
	}
	z.mutex.Lock()
	if len(lists) > 0 || len(z.given) > 1 {
		z.learned = time.Now()
	}
	for _, listed := range lists {
		z.listed = listed
	}
	z.mutex.Unlock()
	if len(z.given) > 1 && len(lists) > 0 {
		z.compare(lists)
		return z.distinct(found)
	}
	for _, listed := range lists {
		if added := z.add(listed...); len(added) > 0 {
			return poll.round(append(known, added...), true)
		}
	}
	return found
}

// compare leaves out given servers whose zone has other servers than that of most of
// them, the first given one's where they are as many.
func (z *zoneServers) compare(lists map[string][]string) {
	count, zoneOf := map[string]int{}, map[string]string{}
	for endpoint, listed := range lists {
		slices.Sort(listed)
		zoneOf[endpoint] = strings.Join(listed, " ")
		if len(listed) == 0 {
			zoneOf[endpoint] = endpoint // a server alone is a zone of its own
		}
		count[zoneOf[endpoint]]++
	}
	ours, most := "", 0
	for _, endpoint := range z.given {
		if zone, answered := zoneOf[endpoint]; answered && count[zone] > most {
			ours, most = zone, count[zone]
		}
	}
	z.mutex.Lock()
	defer z.mutex.Unlock()
	for endpoint, zone := range zoneOf {
		if zone != ours && !z.foreign[endpoint] {
			z.logger.Warn("a server belongs to another zone and is not used: remove it from one.xmlrpc",
				"endpoint", endpoint, "its_zone", zone, "zone", ours)
		}
		z.foreign[endpoint] = zone != ours
	}
}
