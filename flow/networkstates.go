package flow

// NetworkState is oned's STATE of a virtual network.
type NetworkState int

// The states of a virtual network.
const (
	NetworkInit NetworkState = iota
	NetworkReady
	NetworkLockCreate
	NetworkLockDelete
	NetworkDone
	NetworkError
	NetworkUpdateFailure
)

// Failed reports whether the network goes no further by itself.
func (s NetworkState) Failed() bool { return s == NetworkError || s == NetworkUpdateFailure }

var networkStateNames = [...]string{
	"INIT", "READY", "LOCK_CREATE", "LOCK_DELETE", "DONE", "ERROR", "UPDATE_FAILURE",
}

// String is the state's name as it stands in hook events.
func (s NetworkState) String() string { return stateName(int(s), networkStateNames[:]) }
