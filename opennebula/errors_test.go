package opennebula

import "testing"

// TestRefusalsAreClassified has oned's reasons for INTERNAL as a zone of three gives
// them while it loses a leader, and for what cannot be read.
func TestRefusalsAreClassified(t *testing.T) {
	const begun, open, final = "not begun", "open", "final"
	for _, tc := range []struct {
		code          Code
		message, want string
	}{
		{CodeInternal, "[one.vm.action] Cannot process request, no leader found", begun},
		{CodeInternal, "[one.vm.action] Cannot process request, oned cluster in election mode", begun},
		{CodeInternal, "[one.document.update] Cannot process request, oned cluster is replicating log", begun},
		{CodeInternal, "[one.document.update] libcurl failed to execute the HTTP POST transaction, explaining:  Failed to connect to 10.0.0.1 port 2633 after 0 ms: Couldn't connect to server", begun},
		{CodeInternal, "[one.document.update] libcurl failed to execute the HTTP POST transaction, explaining:  Operation timed out after 10000 milliseconds", open},
		{CodeInternal, "[one.template.instantiate] libcurl failed to execute the HTTP POST transaction, explaining:  Recv failure: Connection reset by peer", open},
		{CodeInternal, "[one.template.instantiate] Error allocating a new virtual machine template.", open},
		{CodeAllocate, "[one.template.instantiate] Error allocating a new virtual machine template.", open},
		{CodeAction, "[one.vn.delete] Cannot delete virtual network. ", open},
		{CodeAction, "[one.document.delete] Cannot delete document. ", open},
		{CodeAction, "[one.vn.delete] Cannot delete virtual network. Can not remove a virtual network with leases in use", final},
		{CodeAction, "[one.vm.action] Wrong state to perform action", final},
		{CodeInternal, "[one.document.allocate] ", open},
		{CodeInternal, "[one.vn.reserve] NAME is already taken by NET 3.", final},
		{CodeInternal, "[one.vn.reserve] Invalid NAME, char '>' is not allowed", final},
		{CodeInternal, "[one.vrouter.allocate] Virtual network with ID: 99 does not exist", final},
		{CodeInternal, "[one.vrouter.allocate] User 0 does not own a network with name: x . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.", final},
		{CodeInternal, "[one.vm.schedadd] Unable to create Scheduled Action for Virtual Machine 5, it's in DONE state", final},
		{CodeInternal, "[one.document.update] Cannot update document.", open},
		{CodeReplication, "[one.document.update] Error replicating log entry 7.", open},
		{CodeInternal, "[one.template.instantiate] Parse error: syntax error, unexpected VARIABLE, expecting EQUAL at line 0, columns 12:13", final},
		{CodeInternal, "[one.template.instantiate] Parse error.", final},
		{CodeInternal, "[one.document.allocate] Error transforming the Document to XML.", final},
		{CodeAction, "[one.vm.update] Parse error.", final},
		{CodeAction, "[one.template.instantiate] Virtual router templates cannot be instantiated", final},
		{CodeAllocate, "[one.template.instantiate] MEMORY attribute must be a positive integer value.", final},
		{CodeAuthorization, "[one.template.instantiate] User [2] : limit of 1 reached for VMS quota in VM.", final},
		{CodeNoExists, "[one.document.info] Error getting document [42].", final},
	} {
		err := error(&Error{Method: "one.x.y", Code: tc.code, Message: tc.message})
		got := final
		switch {
		case NotBegun(err) && Ambiguous(err):
			got = "both"
		case NotBegun(err):
			got = begun
		case Ambiguous(err):
			got = open
		}
		if got != tc.want || Temporary(err) != (tc.want != final) {
			t.Errorf("%s: %s, temporary %v; want %s", tc.message, got, Temporary(err), tc.want)
		}
	}
}

// TestDateOfOned ends in UTC, which HTTP's formats do not have.
func TestDateOfOned(t *testing.T) {
	for _, text := range []string{"Fri, 27 Nov 2026 21:05:55 UTC", "Fri, 27 Nov 2026 21:05:55 GMT"} {
		if got, err := ParseDate(text); err != nil || got.Unix() != 1795813555 {
			t.Errorf("%s: %v, %v", text, got.Unix(), err)
		}
	}
}
