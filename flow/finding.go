package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// FindingKind is the kind of a finding.
type FindingKind string

// The kinds of finding. Those of networks are the service's own.
const (
	FoundLogged          FindingKind = "logged"         // an error that the service's log has of its present failure
	FoundUnseen          FindingKind = "unseen"         // no worker has handled the service yet
	FoundLeftAlone       FindingKind = "left_alone"     // another program drives the service, or may
	FoundVM              FindingKind = "vm_state"       // a VM in a state of trouble, or on its way out of it
	FoundUnknown         FindingKind = "vm_unknown"     // a VM whose state is unknown at the moment
	FoundNotRunning      FindingKind = "vm_not_running" // a VM that has to run
	FoundNotReady        FindingKind = "vm_not_ready"   // a VM that has to report READY=YES
	FoundRetried         FindingKind = "vm_retried"     // a failed VM that oned was asked to retry
	FoundToCreate        FindingKind = "vm_to_create"
	FoundToFind          FindingKind = "vm_to_find"  // a VM that may have been created
	FoundLacking         FindingKind = "vms_lacking" // a role with fewer VMs than its cardinality
	FoundEnding          FindingKind = "vm_ending"   // a VM that was asked to end
	FoundToEnd           FindingKind = "vms_to_end"  // a number of VMs that are to be asked
	FoundOrphan          FindingKind = "vm_orphan"   // a VM without a role that was asked to end
	FoundGivenAway       FindingKind = "vm_given_away"
	FoundParent          FindingKind = "parent" // a role that waits for another one
	FoundHold            FindingKind = "hold"   // a role that waits for its release
	FoundNetworkToMake   FindingKind = "network_to_make"
	FoundNetworkNotReady FindingKind = "network_not_ready"
	FoundNetworkToDelete FindingKind = "network_to_delete"
	FoundNetworkFailed   FindingKind = "network_failed"
	FoundRouterToMake    FindingKind = "router_to_make"
	FoundRouterToDelete  FindingKind = "router_to_delete"
	FoundCooldown        FindingKind = "cooldown"           // the time after a scaling
	FoundRetry           FindingKind = "retry"              // a call that oned has refused and that is retried
	FoundDeadline        FindingKind = "deadline"           // a running deadline: for State, after which Action happens
	FoundDocument        FindingKind = "document_to_delete" // the last step of an end
	FoundIgnored         FindingKind = "attribute_unread"   // an attribute of the document that is ignored: Name is its path
	FoundPolicy          FindingKind = "policy_unusable"    // a policy that never changes its role, for the reason Said: Name is its path
	FoundInputs          FindingKind = "inputs_waiting"     // inputs that are not handled yet
	FoundNoWorker        FindingKind = "no_worker"          // no worker runs that could handle them
	FoundDead            FindingKind = "dead_letter"        // a message of the service that could not be processed and is kept
	FoundUnreadable      FindingKind = "document_unreadable"
	FoundMore            FindingKind = "more" // findings beyond those shown
)

// Finding is something that a service waits for, that has failed, or that is worth knowing.
type Finding struct {
	Kind FindingKind `json:"kind"`
	// Role, VM and Network are its object, if it has one. A VM that is to be created has only a Name: it has no id yet.
	Role    string `json:"role,omitempty"`
	VM      *int   `json:"vm,omitempty"`
	Name    string `json:"name,omitempty"`
	Network string `json:"network,omitempty"`
	// State is the state of the VM, the network or the parent.
	State string `json:"state,omitempty"`
	// Parent is the role that Role waits for.
	Parent string `json:"parent,omitempty"`
	// Count is how many VMs there are, of Wanted; of FoundToEnd and FoundMore, how many.
	Count  int `json:"count,omitempty"`
	Wanted int `json:"wanted,omitempty"`
	// Action is the request to a VM, made at AskedAt, or what oned did not do.
	Action  string    `json:"action,omitempty"`
	AskedAt time.Time `json:"asked_at,omitzero"`
	// Attempts is how often that was tried.
	Attempts int `json:"attempts,omitempty"`
	// Since is when it began, Due when it ends or is acted on.
	Since time.Time `json:"since,omitzero"`
	Due   time.Time `json:"due,omitzero"`
	// Said is the message of oned, its scheduler or the service's log; for an ignored attribute, the name that was perhaps intended; for a policy, its
	// fault and the remedy.
	Said string `json:"said,omitempty"`
	// Message is for people: "VM 7 is in BOOT_FAILURE". Times in it are in UTC.
	Message string `json:"message"`
}

func plural(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}

func utc(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// Written is the finding with its message.
func (f Finding) Written(now time.Time) Finding {
	f.Message = f.text(now)
	return f
}

// plainTexts are the messages of findings without variable parts.
var plainTexts = map[FindingKind]string{
	FoundLogged:          "$SAID",
	FoundGivenAway:       "$SAID",
	FoundLeftAlone:       "Flowjet leaves the service alone: $SAID",
	FoundUnseen:          "no worker has processed the service yet",
	FoundMore:            "and $COUNT more",
	FoundInputs:          "$INPUTS $ARE not processed yet, the oldest from $SINCE",
	FoundNoWorker:        "no worker is running: the service makes no progress until one is started",
	FoundDead:            "$MESSAGES could not be processed: $SAID",
	FoundUnreadable:      "the service's document cannot be read: $SAID",
	FoundPolicy:          "$NAME has no effect: $SAID",
	FoundDocument:        "the service's document is to be deleted",
	FoundCooldown:        "the cooldown after scaling, until $DUE",
	FoundNetworkToMake:   "network $NAME is to be created",
	FoundNetworkNotReady: "network $NAME is in $STATE and has to become READY",
	FoundNetworkFailed:   "network $NAME is in $STATE",
	FoundHold:            "role $ROLE is on hold until it is released",
	FoundRouterToMake:    "the virtual router of role $ROLE is to be created",
	FoundRouterToDelete:  "the virtual router of role $ROLE is to be deleted",
	FoundToFind:          "a VM named $NAME may have been created; if it exists, it is terminated",
	FoundLacking:         "role $ROLE has $VMS and should have $WANTED$STAY",
	FoundToEnd:           "$VMS of role $ROLE $ARE to be terminated",
	FoundNotRunning:      "VM $ID is in $STATE and has to become RUNNING$STAY",
	FoundUnknown:         "the state of VM $ID is unknown",
	FoundRetried:         "VM $ID is in $STATE and is retried",
	FoundVM:              "VM $ID is in $STATE",
}

func (f Finding) text(now time.Time) string {
	text := plainTexts[f.Kind]
	switch f.Kind {
	case FoundIgnored:
		if text = "the attribute $NAME is unknown and ignored"; f.Said != "" {
			text += "; was $SAID meant?"
		}
	case FoundRetry:
		times, next := "at $SINCE", "now"
		if f.Attempts > 1 {
			times = "$ATTEMPTS times since $SINCE"
		}
		if f.Due.After(now) {
			next = "at $DUE"
		}
		text = "oned did not $ACTION (" + times + "): $SAID; next attempt " + next
	case FoundNetworkToDelete:
		if text = "network $NAME is in $STATE and is to be deleted"; f.State == "" {
			text = "network $NAME may have been created; if it exists, it is deleted"
		}
	case FoundParent:
		if text = "role $ROLE waits for its parent $PARENT, which is $STATE"; f.State == "" {
			text = "role $ROLE waits for its parent $PARENT, which does not exist"
		}
	case FoundToCreate:
		if text = "a VM named $NAME is to be created"; f.Attempts > 0 {
			text += ", unless an earlier call has created it"
		}
	case FoundNotReady:
		if text = "VM $ID is in $STATE and has to run and report READY=YES$STAY"; f.State == one.LCMRunning.String() {
			text = "VM $ID is RUNNING but has not reported READY=YES$STAY"
		}
	case FoundEnding, FoundOrphan:
		if text = "VM $ID"; f.Kind == FoundOrphan {
			text += ", which no longer belongs to a role,"
		}
		switch {
		case f.Action != "" && !f.AskedAt.IsZero():
			text += " was asked to $ACTION at $ASKED"
		case f.Action != "": // oned has refused it for now, or may not have heard it
			text += " is to be asked to $ACTION"
		}
		if f.State != "" && f.Action != "" {
			text += " and"
		}
		if f.State != "" {
			text += " is in $STATE$STAY"
		}
	case FoundDeadline:
		whose, then := "the service", "it fails"
		if f.Role != "" {
			whose = "role $ROLE"
		}
		switch {
		case f.Action == policy.ThenShrink && f.State == spec.ServiceScaling.String():
			then = "the scaling is reverted to the VMs that run"
		case f.Action == policy.ThenUndeploy && f.State != spec.ServiceUndeploying.String():
			then = "the service is undeployed"
		}
		if left := f.Due.Sub(now).Round(time.Second); left > 0 {
			text = "the deadline of " + whose + " for $STATE is $DUE, in " + left.String() + "; then " + then
		} else {
			text = "the deadline of " + whose + " for $STATE passed at $DUE; it takes effect now"
		}
	}
	id, are := "", map[bool]string{true: "is", false: "are"}[f.Count == 1]
	if f.VM != nil {
		id = strconv.Itoa(*f.VM)
	}
	return strings.NewReplacer(
		"$ROLE", f.Role, "$ID", id, "$NAME", f.Name, "$STATE", f.State, "$STAY", f.stayText(now), "$PARENT", f.Parent, "$WANTED", strconv.Itoa(f.Wanted),
		"$COUNT", strconv.Itoa(f.Count), "$VMS", plural(f.Count, "VM"), "$INPUTS", plural(f.Count, "input"), "$MESSAGES", plural(f.Count, "message"), "$ARE", are,
		"$ACTION", f.Action, "$ASKED", utc(f.AskedAt), "$ATTEMPTS", strconv.Itoa(f.Attempts), "$SINCE", utc(f.Since), "$DUE", utc(f.Due), "$SAID", f.Said,
	).Replace(text)
}

func (f Finding) stayText(now time.Time) string {
	var known []string
	if !f.Since.IsZero() {
		known = append(known, "since "+utc(f.Since))
	}
	if f.Said != "" {
		known = append(known, f.Said)
	}
	switch {
	case f.Due.IsZero():
	case f.Due.After(now):
		known = append(known, "its deadline is "+utc(f.Due))
	default:
		known = append(known, "its deadline was "+utc(f.Due))
	}
	if len(known) == 0 {
		return ""
	}
	return " (" + strings.Join(known, "; ") + ")"
}

// advised are the commands with which an operator can help a service, ID, in a state.
var advised = map[spec.ServiceState]string{
	spec.ServiceWarning:               "repair or terminate the VMs that are in trouble, and the service returns to RUNNING automatically; `oneflow recover ID` makes OpenNebula retry them",
	spec.ServiceFailedDeploying:       "remove the cause, then `oneflow recover ID` continues where it stopped; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedScaling:         "remove the cause, then `oneflow recover ID` continues where it stopped; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedUndeploying:     "terminate the VMs that do not end, then `oneflow recover ID`; `oneflow recover --delete ID` terminates all of them again",
	spec.ServiceFailedDeployingNets:   "correct the network template or the reservation, then `oneflow recover ID`; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedUndeployingNets: "remove what keeps the network, such as leases in use, then `oneflow recover ID`",
	spec.ServiceCooldown:              "nothing: it ends automatically; `oneflow recover ID` ends it now",
	spec.ServiceHold:                  "`oneflow release ID` lets the VMs on hold start",
	spec.ServicePending:               "a worker starts with the service automatically; if not, `flowjet doctor` shows why",
}

// Advice returns the command with which an operator can help a service in the state, as a sentence; empty if none is needed.
func Advice(state spec.ServiceState, service int) string {
	return strings.ReplaceAll(advised[state], "ID", strconv.Itoa(service))
}

// OwnerGone returns the remedy to append to a refusal if the service's owner, as whom calls are made, no longer exists.
func OwnerGone(service spec.Service) string {
	return fmt.Sprintf("the service's owner %s (user %d) does not exist any more: `oneflow chown %d USER` gives it to another, then `oneflow recover %d`",
		service.Owner.UName, service.Owner.UID, service.ID, service.ID)
}

// GivenAway returns what to know of a VM that was the service's and has another owner now, empty for any other VM: a change of the service's
// owner may have been cut off. Only what the record knows counts: a VM that somebody has written into the document must not have its owner
// recommended.
func GivenAway(service spec.Service, vm one.VM) string {
	if !service.Made.Has(vm.ID) || vm.Owner.UID == service.Owner.UID {
		return ""
	}
	return fmt.Sprintf("VM %[1]d belongs to %[2]s now: the service leaves it alone, even when it ends; `onevm chown %[1]d %[3]s` gives it back; "+
		"if a change of the service's owner was cut off, repeat it from the VM's owner: flowjet service chown %[4]d %[2]s, then flowjet service chown %[4]d %[3]s",
		vm.ID, vm.Owner.UName, service.Owner.UName, service.ID)
}

const maxAdvised = 3

// advice returns what an operator can do, most useful first. If the owner as whom calls are made no longer exists, nothing else helps.
func (e *explainer) advice() []string {
	var next []string
	gone := OwnerGone(e.Service)
	if slices.ContainsFunc(e.failed, func(found Finding) bool { return found.Kind == FoundLogged && strings.HasSuffix(found.Said, gone) }) {
		return []string{gone}
	}
	if e.LeftAlone != nil {
		return []string{goOnAdvice(e.Service.ID)}
	}
	if due, set := e.Deadlines[DeadlineHeal]; set && due.After(e.now) {
		next = append(next, "wait: failed VMs are healed automatically at "+utc(due))
	}
	for _, found := range slices.Concat(e.failed, e.waits) {
		if found.VM == nil || len(next) >= maxAdvised {
			continue
		}
		vm, known := e.facts[*found.VM]
		switch {
		case !known, found.Kind == FoundRetried, found.Kind == FoundEnding, found.Kind == FoundOrphan:
		case e.Service.State() == spec.ServiceFailedUndeploying:
			next = append(next, fmt.Sprintf("`onevm recover --delete %d` deletes VM %d", vm.ID, vm.ID))
		case vm.Failed():
			next = append(next, fmt.Sprintf("`onevm recover --retry %d` makes OpenNebula retry VM %d", vm.ID, vm.ID))
		case vm.Lost():
			next = append(next, fmt.Sprintf("`onevm show %d` shows the host of VM %d, which does not answer", vm.ID, vm.ID))
		case vm.State == one.VMHold && e.Asked[vm.ID].Action == "":
			next = append(next, fmt.Sprintf("`onevm release %d` lets VM %d start", vm.ID, vm.ID))
		case vm.Arrived():
			next = append(next, fmt.Sprintf("`onevm resume %d` starts VM %d", vm.ID, vm.ID))
		case vm.Stage() == one.StageBoot && e.Service.State() == spec.ServiceWarning:
			next = append(next, fmt.Sprintf("wait until VM %[1]d runs, or `onevm recover --failure %[1]d` if its driver hangs", vm.ID))
		}
	}
	for _, network := range e.Networks {
		switch {
		case !e.Service.State().Failed() || !WatchesNetworks(e.State) || network.ID == noNetwork || len(next) >= maxAdvised:
		case network.State == one.NetworkReady:
			next = append(next, fmt.Sprintf("`onevnet show %d` shows which leases of network %s are in use", network.ID, network.Name))
		default:
			next = append(next, fmt.Sprintf("`onevnet recover --delete %d` deletes network %s", network.ID, network.Name))
		}
	}
	if role := e.roleWithoutHost(); role != "" {
		next = append(next, fmt.Sprintf("make room for the VMs that no host accepts; or end the scaling with `oneflow update %d`: \"deadlines\": {\"scaling\": 60, \"then\": \"shrink\"} in role %s keeps the VMs that run",
			e.Service.ID, role))
	}
	if text := Advice(e.Service.State(), e.Service.ID); text != "" {
		next = append(next, text)
	}
	return append(next, e.waysBack()...)
}

// roleWithoutHost returns a role that scales up, without a deadline, and has a VM that no host accepts; empty without any.
func (e *explainer) roleWithoutHost() string {
	for _, found := range e.waits {
		role := e.Service.Role(found.Role)
		if found.VM == nil || role == nil || role.CurrentState() != spec.RoleScaling || role.Shrinking() || e.Stays[*found.VM].Scheduler == "" {
			continue
		}
		if _, limited := e.Waits[role.Name]; !limited {
			return role.Name
		}
	}
	return ""
}

// waysBack returns the commands that take a failed service back to those of its VMs that have come and are not in trouble as far as the facts
// show, role by role.
func (e *explainer) waysBack() []string {
	if state := e.Service.State(); state != spec.ServiceFailedDeploying && state != spec.ServiceFailedScaling {
		return nil
	}
	var ways, removals []string
	for role := range e.Service.Body.EachRole() {
		if role.CurrentState() != spec.RoleFailedDeploying && role.CurrentState() != spec.RoleFailedScaling {
			continue
		}
		removals = append(removals, fmt.Sprintf("`oneflow remove-role %d %s` removes role %s from the service", e.Service.ID, quoted(role.Name), role.Name))
		sound := 0
		for _, node := range role.Nodes {
			if vm, known := e.facts[node.DeployID]; !known || !vm.Troubled() && !vm.Gone() && !vm.IsNew() {
				sound++
			}
		}
		if role.IsRouter() || sound == role.Cardinality { // the role has as many VMs as it should
			continue
		}
		force, with := "", "with "+plural(sound, "VM")
		if role.MinVMs != nil && sound < *role.MinVMs {
			force = " --force"
		}
		if sound == 0 {
			with = "without a VM"
		}
		ways = append(ways, fmt.Sprintf("`oneflow scale %d %s %d%s` lets role %s continue %s", e.Service.ID, quoted(role.Name), sound, force, role.Name, with))
	}
	ways = append(ways, removals...)
	return ways[:min(len(ways), 2*maxAdvised)]
}

// quoted quotes a word for a shell.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:/@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
