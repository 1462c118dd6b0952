package flow

import "time"

// phases are the parts of a planner, one for each phase of a service's life and
// for each kind of thing that a service has. They work on the planner's draft of
// the state and call each other through it.
type phases struct {
	applier    applier
	requester  requester
	remover    remover
	deployer   deployer
	holder     holder
	filler     filler
	scaler     scaler
	autoscaler autoscaler
	healer     healer
	undeployer undeployer
	observer   observer
	owners     owners
	networker  networker
	routing    routing
	retrier    retrier
	tracker    tracker
	recoverer  recoverer
	watcher    watcher
	deadliner  deadliner
	limiter    limiter
}

func phasesOf(p *planner) phases {
	return phases{
		applier:    applier{p},
		requester:  requester{p},
		remover:    remover{p},
		deployer:   deployer{p},
		holder:     holder{p},
		filler:     filler{p},
		scaler:     scaler{p},
		autoscaler: autoscaler{p},
		healer:     healer{p},
		undeployer: undeployer{p},
		observer:   observer{p},
		owners:     owners{p},
		networker:  networker{p},
		routing:    routing{p},
		retrier:    retrier{p},
		tracker:    tracker{p},
		recoverer:  recoverer{p},
		watcher:    watcher{p},
		deadliner:  deadliner{p},
		limiter:    limiter{p, map[string]time.Duration{}},
	}
}

type (
	// applier carries out what users ask for.
	applier struct{ *planner }
	// requester asks VMs to end, to run again or to be released, and follows whether they do.
	requester struct{ *planner }
	// remover takes a role out of a service.
	remover struct{ *planner }
	// deployer brings roles to RUNNING.
	deployer struct{ *planner }
	// holder keeps roles on hold and releases them.
	holder struct{ *planner }
	// filler decides on the VMs that a role lacks.
	filler struct{ *planner }
	// scaler brings roles to another cardinality.
	scaler struct{ *planner }
	// autoscaler scales roles by their policies.
	autoscaler struct{ *planner }
	// healer keeps roles whole whose VMs fail.
	healer struct{ *planner }
	// undeployer ends roles.
	undeployer struct{ *planner }
	// observer takes up what is seen of VMs: new nodes, lost ones.
	observer struct{ *planner }
	// owners keeps VMs out that are not the service's.
	owners struct{ *planner }
	// networker makes and removes the service's own virtual networks.
	networker struct{ *planner }
	// routing makes and removes virtual routers.
	routing struct{ *planner }
	// retrier takes calls again that oned has not carried out.
	retrier struct{ *planner }
	// tracker follows for how long VMs stay in passing states.
	tracker struct{ *planner }
	// recoverer recovers VMs that do not leave a passing state.
	recoverer struct{ *planner }
	// watcher looks after a service that runs.
	watcher struct{ *planner }
	// deadliner sets when the service is looked at again.
	deadliner struct{ *planner }
	// limiter holds services and roles to their deadlines; it has read those of pending VMs.
	limiter struct {
		*planner
		pending map[string]time.Duration
	}
)
