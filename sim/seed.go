package sim

import "github.com/flowjet/flowjet/opennebula"

// The ids that a new zone begins with.
const (
	serverAdminID = 1
	usersGroup    = 1
)

// seed fills a new zone: the users and groups, network 0 "private", VM
// template 0 "alpine" and what virtual routers and networks are made from.
func seed(t *tx, config Config) {
	c := t.cloud
	for _, g := range []*group{{0, "oneadmin"}, {usersGroup, "users"}} {
		c.groups[g.ID] = g
		t.save(kindGroup, g.ID, g)
	}
	for _, u := range []*user{
		newUser(0, 0, "oneadmin", config.OneadminPassword, driverCore),
		newUser(serverAdminID, 0, "serveradmin", config.ServerPassword, driverServer),
		newUser(2, usersGroup, "alice", config.AlicePassword, driverCore),
	} {
		c.users[u.ID] = u
		t.save(kindUser, u.ID, u)
	}
	seedNetwork(t)
	seedTemplates(t)
	c.next[kindUser], c.next[kindGroup] = 3, 100
	c.next[kindNetwork], c.next[kindTemplate], c.next[kindVNTemplate] = 1, 2, 1
	t.save(kindNext, 0, c.next)
}

// setServerPassword lets the server user in with another password.
func setServerPassword(t *tx, password string) {
	if u := t.cloud.users[serverAdminID]; u != nil {
		u.PasswordHash = hashPassword(password)
		t.save(kindUser, u.ID, u)
	}
}

// asOneadmin is an object of oneadmin's that everybody may use.
func asOneadmin(id int, name string) object {
	return object{ID: id, UName: "oneadmin", GName: "oneadmin", Name: name, Permissions: readableByAll}
}

func seedNetwork(t *tx) {
	private := &network{
		object: asOneadmin(0, "private"), State: opennebula.NetworkReady, PrevState: opennebula.NetworkReady, Parent: -1, FromID: -1,
		Template: networkDefaults("br0"),
	}
	const first, size = 10<<24 | 1, 1 << 20
	private.Ranges = []addressRange{{IP: first, MAC: macPrefix | first, Size: size, Parent: -1}}
	t.cloud.networks[0] = private
	t.save(kindNetwork, 0, private)
}

func seedTemplates(t *tx) {
	alpine := &vmTemplate{object: asOneadmin(0, "alpine"), Registered: now(), Template: template{
		vector("CONTEXT", single("NETWORK", "YES"), single("REPORT_READY", "YES")),
		single("CPU", "0.01"), single("MEMORY", "16"), single("NAME", "alpine"),
		vector("NIC", single("NETWORK", "private")),
	}}
	router := &vmTemplate{object: asOneadmin(1, "vrouter"), Registered: now(), Template: template{
		single("CPU", "0.01"), single("MEMORY", "16"), single("VROUTER", "YES"),
	}}
	for _, item := range []*vmTemplate{alpine, router} {
		t.cloud.templates[item.ID] = item
		t.save(kindTemplate, item.ID, item)
	}
	networks := &vnTemplate{object: asOneadmin(0, "vnt"), Registered: now(), Template: template{
		single("BRIDGE", "br1"), single("VN_MAD", dummyDriver),
	}}
	t.cloud.vnTemplates[0] = networks
	t.save(kindVNTemplate, 0, networks)
}
