package sim

// The ids that a new zone begins with.
const (
	serverAdminID = 1
	usersGroup    = 1
)

// seed fills a new zone: the users and groups, network 0 "private", VM
// template 0 "alpine" and what virtual routers and networks are made from.
func (t *tx) seed(config Config) {
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
	t.seedNetwork()
	t.seedTemplates()
	c.next[kindUser], c.next[kindGroup] = 3, 100
	c.next[kindNetwork], c.next[kindTemplate], c.next[kindVNTemplate] = 1, 2, 1
	t.save(kindNext, 0, c.next)
}

// setServerPassword lets the server user in with another password.
func (t *tx) setServerPassword(password string) {
	if u := t.cloud.users[serverAdminID]; u != nil {
		u.PasswordHash = hashPassword(password)
		t.save(kindUser, u.ID, u)
	}
}

// asOneadmin is an object of oneadmin's that everybody may use.
func asOneadmin(id int, name string) object {
	return object{ID: id, UName: "oneadmin", GName: "oneadmin", Name: name, Permissions: readableByAll}
}

func (t *tx) seedNetwork() {
	private := &network{
		object: asOneadmin(0, "private"), State: netReady, PrevState: netReady, Parent: -1, FromID: -1,
		Template: networkDefaults("br0"),
	}
	const first, size = 10<<24 | 1, 1 << 20
	private.Ranges = []addressRange{{IP: first, MAC: macPrefix | first, Size: size, Parent: -1}}
	t.cloud.networks[0] = private
	t.save(kindNetwork, 0, private)
}

func (t *tx) seedTemplates() {
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

// rebuild finds out what is not stored: who holds which address and whose
// capacity is taken.
func (c *cloud) rebuild() {
	for _, id := range c.networks.ids() {
		n := c.networks[id]
		if parent := c.networks[n.Parent]; parent != nil {
			for _, block := range n.Ranges {
				parent.holdBlock(block, holder{holderVNet, id})
			}
		}
	}
	for _, id := range c.vrouters.ids() {
		for _, nic := range c.vrouters[id].Template.vectors("NIC") {
			c.holdNIC(nic, holder{holderVRouter, id}, "VROUTER_IP")
		}
	}
	for _, id := range c.vms.ids() {
		v := c.vms[id]
		if v.State == vmDone {
			c.done = append(c.done, id)
			continue
		}
		for _, nic := range v.Template.vectors("NIC") {
			c.holdNIC(nic, holder{holderVM, id}, "IP")
		}
		if v.Host >= 0 && v.Host < len(c.hosts) {
			c.hosts[v.Host].take(v)
			c.nextHost = (v.Host + 1) % len(c.hosts)
		}
	}
}

func (n *network) holdBlock(block addressRange, h holder) {
	for i := range n.Ranges {
		for offset := 0; offset < block.Size; offset++ {
			n.Ranges[i].takeAddress(block.IP+uint32(offset), h)
		}
	}
}
