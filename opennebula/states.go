package opennebula

import (
	"time"

	"github.com/flowjet/flowjet/flow/one"
)

// VMState is oned's STATE of a VM. The domain defines it; it is repeated here
// for code that speaks oned's wire and knows no services.
type VMState = one.VMState

// LCMState is oned's LCM_STATE of a VM, for the same readers.
type LCMState = one.LCMState

// NetworkState is oned's STATE of a virtual network, for the same readers.
type NetworkState = one.NetworkState

// The states of a virtual network without a fault.
const (
	NetworkReady      = one.NetworkReady
	NetworkLockCreate = one.NetworkLockCreate
	NetworkLockDelete = one.NetworkLockDelete
	NetworkDone       = one.NetworkDone
)

// WriteTime is for how long after an event oned may answer with a state of before: it sends
// the event first, then writes to its database (VirtualMachinePool::update), and answers from
// there.
const WriteTime = 2 * time.Second

// ParseLCMState reads a name that stands in hook events.
var ParseLCMState = one.ParseLCMState

// Code is oned's error number, the third element of a refusal.
type Code int

// The error numbers of oned.
const (
	CodeAuthentication Code = 0x0100
	CodeAuthorization  Code = 0x0200
	CodeNoExists       Code = 0x0400
	CodeAction         Code = 0x0800
	CodeXMLRPC         Code = 0x1000
	CodeInternal       Code = 0x2000
	CodeAllocate       Code = 0x4000
	CodeLocked         Code = 0x8000
	CodeReplication    Code = 0x10000
)
