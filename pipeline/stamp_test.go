package pipeline

import (
	"errors"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
)

// Data is one zone's: a process of another zone does not start on it, whatever its role.
func TestDataBelongsToAZone(t *testing.T) {
	url := natstest.Server(t)
	zone := func(id int, role Role) func(*Config) { return func(c *Config) { c.Zone, c.Role = id, role } }
	open(t, url, zone(0, RoleAll))
	open(t, url, zone(0, RoleBridge))
	for _, role := range []Role{RoleAll, RoleWorker, RoleBridge, RoleAPI, RoleOperator} {
		_, err := Open(limited(t), Config{URL: url, Zone: 7, Role: role})
		if !errors.Is(err, ErrOtherZone) || !strings.Contains(err.Error(), "zone 0") || !strings.Contains(err.Error(), "--zone is 7") {
			t.Errorf("%s: %v", role, err)
		}
	}
	other := natstest.Server(t)
	open(t, other, zone(7, RoleWorker))
	open(t, other, zone(7, RoleAPI))
	if _, err := Open(limited(t), Config{URL: other}); !errors.Is(err, ErrOtherZone) {
		t.Errorf("zone 0 on zone 7's data: %v", err)
	}
}
