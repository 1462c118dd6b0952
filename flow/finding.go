package flow

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// FindingKind is what an explanation has found.
type FindingKind string

// The kinds of finding.
const (
	// FoundLogged is an error that the service's log has of its present failure.
	FoundLogged FindingKind = "logged"
	// FoundUnseen is a service at which no worker has looked yet.
	FoundUnseen FindingKind = "unseen"
	// FoundVM is a VM in a state of trouble, or one on its way out of it.
	FoundVM FindingKind = "vm_state"
	// FoundUnknown is a VM of which nothing is known at the moment.
	FoundUnknown FindingKind = "vm_unknown"
	// FoundNotRunning and FoundNotReady are VMs that have to run, or to report READY=YES.
	FoundNotRunning FindingKind = "vm_not_running"
	FoundNotReady   FindingKind = "vm_not_ready"
	// FoundRetried is a failed VM that oned was asked to retry.
	FoundRetried FindingKind = "vm_retried"
	// FoundToCreate is a VM that is to be created, FoundToFind one that may have been.
	FoundToCreate FindingKind = "vm_to_create"
	FoundToFind   FindingKind = "vm_to_find"
	// FoundLacking is a role with fewer VMs than its cardinality.
	FoundLacking FindingKind = "vms_lacking"
	// FoundEnding is a VM that was asked to end, FoundToEnd a number of VMs that are to be.
	FoundEnding FindingKind = "vm_ending"
	FoundToEnd  FindingKind = "vms_to_end"
	// FoundOrphan is a VM that was asked to end and is no role's any more.
	FoundOrphan FindingKind = "vm_orphan"
	// FoundParent is a role that waits for another one, FoundHold one that waits for its release.
	FoundParent FindingKind = "parent"
	FoundHold   FindingKind = "hold"
	// FoundNetworkToMake and those that follow are virtual networks of the service's own.
	FoundNetworkToMake   FindingKind = "network_to_make"
	FoundNetworkNotReady FindingKind = "network_not_ready"
	FoundNetworkToDelete FindingKind = "network_to_delete"
	FoundNetworkFailed   FindingKind = "network_failed"
	// FoundRouterToMake and FoundRouterToDelete are virtual routers.
	FoundRouterToMake   FindingKind = "router_to_make"
	FoundRouterToDelete FindingKind = "router_to_delete"
	// FoundCooldown is the time after a scaling, FoundRetry a call that oned has refused and that is made again.
	FoundCooldown FindingKind = "cooldown"
	FoundRetry    FindingKind = "retry"
	// FoundDeadline is a deadline that runs of the service or of a role: State is the state
	// that it is for, and Action what happens when it has passed.
	FoundDeadline FindingKind = "deadline"
	// FoundDocument is a document that is to be deleted.
	FoundDocument FindingKind = "document_to_delete"
	// FoundUnread is an attribute of the document that nobody reads: Name is its path.
	FoundUnread FindingKind = "attribute_unread"
	// FoundInputs are inputs that are not handled yet, and FoundNoWorker that there is nobody who could.
	FoundInputs   FindingKind = "inputs_waiting"
	FoundNoWorker FindingKind = "no_worker"
	// FoundDead is an input of the service that could not be handled, and is kept.
	FoundDead FindingKind = "dead_letter"
	// FoundUnreadable is a document that cannot be read.
	FoundUnreadable FindingKind = "document_unreadable"
	// FoundMore stands for findings beyond those shown.
	FoundMore FindingKind = "more"
)

// Finding is one thing that a service waits for, that has failed, or that is worth knowing.
type Finding struct {
	Kind FindingKind `json:"kind"`
	// Role, VM and Network say what it is about, as far as it is about one. Of a VM that is
	// to be created Name is all there is: it has no id yet.
	Role    string `json:"role,omitempty"`
	VM      *int   `json:"vm,omitempty"`
	Name    string `json:"name,omitempty"`
	Network string `json:"network,omitempty"`
	// State is that of the VM, the network or the parent.
	State string `json:"state,omitempty"`
	// Parent is the role that Role waits for.
	Parent string `json:"parent,omitempty"`
	// Count is how many VMs there are, of Wanted; of FoundToEnd and FoundMore, how many.
	Count  int `json:"count,omitempty"`
	Wanted int `json:"wanted,omitempty"`
	// Action is what a VM was asked for, at AskedAt, or what oned did not do.
	Action  string     `json:"action,omitempty"`
	AskedAt *time.Time `json:"asked_at,omitempty"`
	// Attempts is how often that was tried.
	Attempts int `json:"attempts,omitempty"`
	// Since is when it began, Due when it ends or something is done about it.
	Since *time.Time `json:"since,omitempty"`
	Due   *time.Time `json:"due,omitempty"`
	// Said is what oned, its scheduler or the service's log says; of an attribute that nobody
	// reads, which one was perhaps meant.
	Said string `json:"said,omitempty"`
	// Message is for people: "VM 7 is in BOOT_FAILURE". Times in it are in UTC.
	Message string `json:"message"`
}

// plural is a number with its noun: 1 VM, 2 VMs.
func plural(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}

func isOrAre(count int) string {
	if count == 1 {
		return "is"
	}
	return "are"
}

func utc(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// timeOf is nil for no time.
func timeOf(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// Written is the finding with its message.
func (f Finding) Written(now time.Time) Finding {
	f.Message = f.text(now)
	return f
}

// text makes the message.
func (f Finding) text(now time.Time) string {
	switch f.Kind {
	case FoundLogged:
		return f.Said
	case FoundUnseen:
		return "no worker has processed the service yet"
	case FoundMore:
		return fmt.Sprintf("and %d more", f.Count)
	case FoundCooldown:
		return "the cooldown after scaling, until " + utc(*f.Due)
	case FoundDeadline:
		return f.deadlineText(now)
	case FoundUnread:
		text := "the attribute " + f.Name + " is unknown and ignored"
		if f.Said != "" {
			text += "; was " + f.Said + " meant?"
		}
		return text
	case FoundInputs:
		return fmt.Sprintf("%s %s not processed yet, the oldest from %s", plural(f.Count, "input"), isOrAre(f.Count), utc(*f.Since))
	case FoundNoWorker:
		return "no worker is running: the service makes no progress until one is started"
	case FoundDead:
		return fmt.Sprintf("%s could not be processed: %s", plural(f.Count, "input"), f.Said)
	case FoundUnreadable:
		return "the service's document cannot be read: " + f.Said
	case FoundDocument:
		return "the service's document is to be deleted"
	case FoundRetry:
		times, next := "at "+utc(*f.Since), "now"
		if f.Attempts > 1 {
			times = fmt.Sprintf("%d times since %s", f.Attempts, utc(*f.Since))
		}
		if f.Due.After(now) {
			next = "at " + utc(*f.Due)
		}
		return fmt.Sprintf("oned did not %s (%s): %s; next attempt %s", f.Action, times, f.Said, next)
	case FoundNetworkToMake:
		return fmt.Sprintf("network %s is to be created", f.Name)
	case FoundNetworkToDelete:
		if f.State == "" {
			return fmt.Sprintf("network %s may have been created; if it exists, it is deleted", f.Name)
		}
		return fmt.Sprintf("network %s is in %s and is to be deleted", f.Name, f.State)
	case FoundNetworkNotReady:
		return fmt.Sprintf("network %s is in %s and has to become READY", f.Name, f.State)
	case FoundNetworkFailed:
		return fmt.Sprintf("network %s is in %s", f.Name, f.State)
	}
	return f.roleText(now)
}

// roleText makes the message about a role or its VMs.
func (f Finding) roleText(now time.Time) string {
	switch f.Kind {
	case FoundParent:
		if f.State == "" {
			return fmt.Sprintf("role %s waits for its parent %s, which does not exist", f.Role, f.Parent)
		}
		return fmt.Sprintf("role %s waits for its parent %s, which is %s", f.Role, f.Parent, f.State)
	case FoundHold:
		return "role " + f.Role + " is on hold until it is released"
	case FoundRouterToMake:
		return "the virtual router of role " + f.Role + " is to be created"
	case FoundRouterToDelete:
		return "the virtual router of role " + f.Role + " is to be deleted"
	case FoundToCreate:
		if f.Attempts > 0 {
			return "a VM named " + f.Name + " is to be created, unless an earlier call has created it"
		}
		return "a VM named " + f.Name + " is to be created"
	case FoundToFind:
		return "a VM named " + f.Name + " may have been created; if it exists, it is terminated"
	case FoundLacking:
		return fmt.Sprintf("role %s has %s and should have %d", f.Role, plural(f.Count, "VM"), f.Wanted)
	case FoundToEnd:
		return fmt.Sprintf("%s of role %s %s to be terminated", plural(f.Count, "VM"), f.Role, isOrAre(f.Count))
	case FoundNotRunning:
		return fmt.Sprintf("VM %d is in %s and has to become RUNNING%s", *f.VM, f.State, f.stayText(now))
	case FoundNotReady:
		if f.State == one.LCMRunning.String() {
			return fmt.Sprintf("VM %d is RUNNING but has not reported READY=YES%s", *f.VM, f.stayText(now))
		}
		return fmt.Sprintf("VM %d is in %s and has to run and report READY=YES%s", *f.VM, f.State, f.stayText(now))
	case FoundUnknown:
		return fmt.Sprintf("the state of VM %d is unknown", *f.VM)
	case FoundRetried:
		return fmt.Sprintf("VM %d is in %s and is retried", *f.VM, f.State)
	case FoundEnding, FoundOrphan:
		text := fmt.Sprintf("VM %d", *f.VM)
		if f.Kind == FoundOrphan {
			text += ", which no longer belongs to a role,"
		}
		switch {
		case f.Action != "" && f.AskedAt != nil:
			text += " was asked to " + f.Action + " at " + utc(*f.AskedAt)
		case f.Action != "": // oned has refused it for now, or may not have heard it
			text += " is to be asked to " + f.Action
		}
		if f.State == "" {
			return text
		}
		if f.Action != "" {
			text += " and"
		}
		return text + " is in " + f.State + f.stayText(now)
	}
	return fmt.Sprintf("VM %d is in %s", *f.VM, f.State)
}

func (f Finding) deadlineText(now time.Time) string {
	whose := "the service"
	if f.Role != "" {
		whose = "role " + f.Role
	}
	left := f.Due.Sub(now).Round(time.Second)
	if left <= 0 {
		return fmt.Sprintf("the deadline of %s for %s passed at %s; it takes effect now", whose, f.State, utc(*f.Due))
	}
	then := "it fails"
	switch {
	case f.Action == policy.ThenShrink && f.State == spec.ServiceScaling.String():
		then = "the scaling is reverted to the VMs that run"
	case f.Action == policy.ThenUndeploy && f.State != spec.ServiceUndeploying.String():
		then = "the service is undeployed"
	}
	return fmt.Sprintf("the deadline of %s for %s is %s, in %s; then %s", whose, f.State, utc(*f.Due), left, then)
}

// stayText tells since when a VM is in its state, what oned says of it, and when something is done about it.
func (f Finding) stayText(now time.Time) string {
	var known []string
	if f.Since != nil {
		known = append(known, "since "+utc(*f.Since))
	}
	if f.Said != "" {
		known = append(known, f.Said)
	}
	switch {
	case f.Due == nil:
	case f.Due.After(now):
		known = append(known, "its deadline is "+utc(*f.Due))
	default:
		known = append(known, "its deadline was "+utc(*f.Due))
	}
	if len(known) == 0 {
		return ""
	}
	return " (" + strings.Join(known, "; ") + ")"
}
