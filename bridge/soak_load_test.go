package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// soakStep is the time between two changes.
	soakStep = 5 * time.Millisecond
	// soakVMs is how many VMs live at a time.
	soakVMs = 60
)

// load changes VMs and networks until stop is closed. What the zone refuses,
// because it is down or has no leader, is left.
func (s *soak) load(stop <-chan struct{}) {
	tick := time.NewTicker(soakStep)
	defer tick.Stop()
	random := rand.New(rand.NewPCG(1, 2))
	var vms, networks []int
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		switch {
		case random.IntN(40) == 0:
			networks = s.changeNetworks(ctx, networks)
		case len(vms) < soakVMs:
			if id, err := s.client.For("oneadmin").InstantiateTemplate(ctx, 0, "", false, fmt.Sprintf("SERVICE_ID=%d\nROLE_NAME=web\n", random.IntN(9))); err == nil {
				vms = append(vms, id)
			}
		default:
			vms = s.changeVM(ctx, random, vms)
		}
		cancel()
	}
}

// changeVM does something to one of the VMs and returns those that live.
func (s *soak) changeVM(ctx context.Context, random *rand.Rand, vms []int) []int {
	at := random.IntN(len(vms))
	session, id := s.client.For("oneadmin"), vms[at]
	switch random.IntN(20) {
	case 0:
		if session.ActOnVM(ctx, "terminate-hard", id) == nil {
			return append(vms[:at], vms[at+1:]...)
		}
	case 1, 2, 3:
		_ = session.UpdateVM(ctx, id, "READY="+[]string{"YES", "NO"}[random.IntN(2)], true)
	case 4, 5, 6, 7, 8, 9, 10, 11:
		_ = session.ActOnVM(ctx, "poweroff-hard", id)
	default:
		_ = session.ActOnVM(ctx, "resume", id)
	}
	return vms
}

// changeNetworks makes a network or deletes one.
func (s *soak) changeNetworks(ctx context.Context, networks []int) []int {
	session := s.client.For("oneadmin")
	if len(networks) < 5 {
		id, err := session.ReserveNetwork(ctx, 0, "SIZE=1\nNAME=\"soaked\"\n")
		if err != nil {
			return networks
		}
		return append(networks, id)
	}
	if session.DeleteNetwork(ctx, networks[0]) != nil {
		return networks
	}
	return networks[1:]
}
