package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/flowjet/flowjet/opennebula"
)

// hookPort is where oned publishes unless it was told otherwise.
const hookPort = "2101"

// zone is what the bridge asks about the zone's oneds.
type zone interface {
	// hookEndpoints are where the zone's oneds publish, if at the usual port.
	hookEndpoints(ctx context.Context, zone int) ([]string, error)
	// beside is the oned that publishes on an endpoint; before is how many
	// endpoints of the same host come before it.
	beside(ctx context.Context, zone int, endpoint string, before int) (server, error)
}

// server is one oned.
type server interface {
	RaftStatus(ctx context.Context) (opennebula.RaftStatus, error)
	UpdateVM(ctx context.Context, id int, template string, appendTo bool) error
	close()
}

// onedZone asks the oned that the bridge knows, at xmlrpc.
type onedZone struct {
	client *opennebula.Client
	xmlrpc string
}

func (z onedZone) hookEndpoints(ctx context.Context, id int) ([]string, error) {
	zone, err := z.client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	servers := zone.Servers
	if len(servers) == 0 {
		// The zone's own endpoint is what users are told; oned was reached here.
		servers = []opennebula.ZoneServer{{Endpoint: cmp.Or(z.xmlrpc, zone.Endpoint)}}
	}
	var endpoints []string
	for _, server := range servers {
		host, err := hostOf(server.Endpoint)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, "tcp://"+net.JoinHostPort(host, hookPort))
	}
	return endpoints, nil
}

// beside goes by the host. Servers of one host belong to its endpoints in the
// order of both lists.
func (z onedZone) beside(ctx context.Context, id int, endpoint string, before int) (server, error) {
	zone, err := z.client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(zone.Servers) <= 1 {
		return onedServer{z.client.Server(), func() {}}, nil
	}
	wanted, err := hostOf(endpoint)
	if err != nil {
		return nil, err
	}
	for _, candidate := range zone.Servers {
		if host, err := hostOf(candidate.Endpoint); err != nil || host != wanted {
			continue
		}
		if before > 0 {
			before--
			continue
		}
		client := z.client.At(candidate.Endpoint)
		return onedServer{client.Server(), client.Close}, nil
	}
	return nil, fmt.Errorf("no server of zone %d has the address %s", id, wanted)
}

// onedServer is a session with one oned.
type onedServer struct {
	*opennebula.Session
	end func()
}

func (s onedServer) close() { s.end() }

func hostOf(address string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" {
		return "", errors.New("an endpoint of the zone is not an address")
	}
	return parsed.Hostname(), nil
}
