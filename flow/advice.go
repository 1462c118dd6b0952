package flow

import "fmt"

// Advice is what an operator can do about a service in the state, in one
// sentence with the command that does it; empty where nothing has to be done.
func (s ServiceState) Advice(service int) string {
	switch s {
	case ServiceWarning:
		return fmt.Sprintf("repair or end the VMs that are in trouble (`onevm show`, `onevm resume`, `onevm recover`); the service goes back to RUNNING by itself; `oneflow recover %d` has OpenNebula retry them", service)
	case ServiceFailedDeploying, ServiceFailedScaling:
		return fmt.Sprintf("remove the cause, then `oneflow recover %d` goes on where it stopped; `oneflow recover --delete %d` ends the service", service, service)
	case ServiceFailedUndeploying:
		return fmt.Sprintf("end the VMs named (`onevm recover --delete`), then `oneflow recover %d`; `oneflow recover --delete %d` asks all of them again", service, service)
	case ServiceFailedDeployingNets:
		return fmt.Sprintf("correct the network template or the reservation, then `oneflow recover %d`; `oneflow recover --delete %d` ends the service", service, service)
	case ServiceFailedUndeployingNets:
		return fmt.Sprintf("free the network (its leases are in use), then `oneflow recover %d`", service)
	case ServiceCooldown:
		return fmt.Sprintf("nothing: it ends by itself; `oneflow recover %d` ends it now", service)
	case ServiceHold:
		return fmt.Sprintf("`oneflow release %d` lets the VMs on hold start", service)
	case ServicePending:
		return "a worker picks the service up by itself; if it does not, `flowjet doctor` says why"
	}
	return ""
}
