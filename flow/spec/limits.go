package spec

// The limits of a service template and of a service; docs/security.md and the API's description name each. They are checked before anything
// else is done with a client's input, because a tenant must not be able to make others pay for it.
const (
	// MaxName is in characters; oned has the same for the names of its objects, and counts bytes.
	MaxName = 128
	// MaxRoles, MaxNetworks and MaxInputs are counts for a service; a role's own inputs are counted apart.
	MaxRoles    = 1024
	MaxNetworks = 256
	MaxInputs   = 512
	// MaxPolicies is for the elasticity policies of a role, and for the scheduled ones.
	MaxPolicies = 64
	// MaxSchedules is for the scheduled policies of all roles of a service together: each decision computes when the next one is due.
	MaxSchedules = 256
	// MaxVMs is for a role and for all roles of a service together: a record of so many VMs is half of what NATS accepts in one message.
	MaxVMs = 10_000
	// MaxAddresses is for a network that is reserved or made for a service. oned 7.4 seeks free addresses one by one: a million takes it
	// 3.4 s, in which it does nothing else, and a hundred million end it.
	MaxAddresses = 65_536
	// MaxContents is for a role's template_contents with all values put in, in bytes: a long value that is referred to often makes
	// gigabytes of one body.
	MaxContents = 1 << 20
	// MaxBody is for a service's whole document, in bytes: the values of user inputs are put into each role's contents, and roles and
	// attributes are added to it. NATS accepts twice as much in one message.
	MaxBody = 4 << 20
	// MaxReferences is for the values of parents' VMs that a role refers to: each is read from all of them whenever a VM is made.
	MaxReferences = 256
	// MaxMeasured is for the attributes that a role's elasticity policies name: each is read from each of its VMs at every pass of the
	// autoscaler.
	MaxMeasured = 64
)
