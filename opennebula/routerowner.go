package opennebula

import "context"

// ChownRouter changes a virtual router's user and group, and those of its VMs;
// -1 leaves one as it is (one.vrouter.chown).
func (s routerCalls) ChownRouter(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.vrouter.chown", id, uid, gid)
}
