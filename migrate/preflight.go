package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// Check is the result of one check.
type Check struct {
	// What is the subject, and Found the result.
	What, Found string
	// Mend is what to do; empty if all is well.
	Mend string
	// Doubt reports whether the migration can continue without that.
	Doubt bool
}

// Preflight has the inputs of the checks.
type Preflight struct {
	Oned *opennebula.Client
	// Zone is the zone's configured id.
	Zone int
	// XMLRPC is oned's endpoint, Hooks the endpoints of its hook events.
	XMLRPC string
	Hooks  []string
	// OneFlow is the address of the old server while it runs, http://host:2474. The hosts of Hooks, the zone's front-ends, may have one too.
	OneFlow string
	// ConnectNATS tries the connection; nil leaves NATS out.
	ConnectNATS func(context.Context) error
	Now         func() time.Time
}

const (
	// step bounds each check.
	step = 5 * time.Second
	// maxSkew is how far clocks may differ: oned's tokens have an expiry time.
	maxSkew = 30 * time.Second
	// Tested is the OpenNebula version of all recordings and tests. docs/install.md states it.
	Tested = "7.4"
	// Oldest is the first OpenNebula version whose calls are known; docs/install.md states it too.
	Oldest = "6.0"
)

// Run makes all checks, one after the other. While oned does not answer, those that ask it are left out: its own names the cause.
func (p Preflight) Run(ctx context.Context) []Check {
	oned, answers := p.checkOned(ctx)
	checks := []Check{oned}
	var steps []func(context.Context) Check
	if answers {
		steps = append(steps, p.checkActing, p.checkClock)
	}
	for _, endpoint := range p.Hooks {
		steps = append(steps, trying(Check{
			What: "hook events at " + endpoint, Found: "a publisher answers",
			Mend: "let HM_MAD of oned.conf listen there (-b 0.0.0.0 for other hosts), open the port, or correct --one-hooks",
		}, func(ctx context.Context) error { return greeted(ctx, endpoint) }))
	}
	for _, address := range p.oneFlows() {
		steps = append(steps, func(ctx context.Context) Check { return checkOneFlow(ctx, address) })
	}
	if p.ConnectNATS != nil {
		steps = append(steps, trying(Check{What: "NATS", Found: "answers", Mend: "start the servers, or correct --nats-url"}, p.ConnectNATS))
	}
	for _, check := range steps {
		limited, cancel := context.WithTimeout(ctx, step)
		checks = append(checks, check(limited))
		cancel()
	}
	return checks
}

// Failed reports whether a check requires action first.
func Failed(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Mend != "" && !c.Doubt })
}

// checkOned also reports whether oned answers, be it by a refusal.
func (p Preflight) checkOned(ctx context.Context) (check Check, answers bool) {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	check.What = "oned at " + p.XMLRPC
	version, err := p.Oned.Server().Version(ctx)
	switch {
	case opennebula.IsCode(err, opennebula.CodeAuthentication):
		check.Found, check.Mend = "refuses the server user", "put serveradmin's name and password into the file of --one-auth-file (OneFlow's is /var/lib/one/.one/oneflow_auth)"
	case err != nil:
		check.Found, check.Mend = err.Error(), "start oned, or set its endpoint with --one-xmlrpc"
		_, refused := errors.AsType[*opennebula.Error](err)
		return check, refused
	default:
		check.Found = "OpenNebula " + version
		check.Mend, check.Doubt = judge(version)
		if zone, err := p.Oned.Server().OwnZone(ctx); err == nil && zone >= 0 && zone != p.Zone {
			check.Found += fmt.Sprintf(", zone %d", zone)
			check.Mend, check.Doubt = fmt.Sprintf("set the zone's id: zone: %d in the configuration, or --zone %d", zone, zone), false
		}
	}
	return check, true
}

// judge returns what to do about a version of OpenNebula, and whether it can be used without that.
func judge(version string) (mend string, doubt bool) {
	tested := "Flowjet is tested with OpenNebula " + Tested + ": try it on a copy first"
	var major, minor, oldestMajor, oldestMinor int
	if read, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); read != 2 {
		return "its version cannot be read: " + tested, true
	}
	_, _ = fmt.Sscanf(Oldest, "%d.%d", &oldestMajor, &oldestMinor)
	switch {
	case major < oldestMajor || (major == oldestMajor && minor < oldestMinor):
		return "upgrade OpenNebula: " + Oldest + " is the oldest supported version", false
	case fmt.Sprintf("%d.%d", major, minor) != Tested:
		return tested, true
	}
	return "", false
}

// checkActing checks that the server user may act as others: a service's calls are made as its owner.
func (p Preflight) checkActing(ctx context.Context) Check {
	check := Check{What: "the server user"}
	const oneadmin = 0
	user, err := p.Oned.For("oneadmin").User(ctx, -1)
	switch {
	case err != nil && !opennebula.IsCode(err, opennebula.CodeAuthentication) && !opennebula.IsCode(err, opennebula.CodeAuthorization):
		check.Found, check.Mend = fmt.Sprintf("oned did not answer a call for oneadmin: %v", err), "remove this cause at oned, then run this again"
	case err != nil:
		check.Found, check.Mend = fmt.Sprintf("cannot act for oneadmin: %v", err), "give serveradmin the driver server_cipher (oneuser chauth) and its password in --one-auth-file"
	case user.Identity.UID != oneadmin:
		check.Found, check.Mend = fmt.Sprintf("acts as user %d instead of oneadmin", user.Identity.UID), "give serveradmin the driver server_cipher (oneuser chauth)"
	default:
		check.Found = "acts for oneadmin"
	}
	return check
}

// checkClock compares the clock with the date in oned's HTTP answers, which is cut to whole seconds.
func (p Preflight) checkClock(ctx context.Context) Check {
	check := Check{What: "clocks"}
	began := p.Now()
	theirs, err := opennebula.ServerTime(ctx, p.XMLRPC)
	if err != nil {
		check.Found, check.Mend, check.Doubt = fmt.Sprintf("oned's cannot be read: %v", err), "make sure that this host's clock and oned's are set by NTP", true
		return check
	}
	skew := theirs.Sub(began.Add(p.Now().Sub(began) / 2).Truncate(time.Second)).Abs()
	check.Found = fmt.Sprintf("%s apart from oned's", skew)
	if skew > maxSkew {
		check.Mend = "set both by NTP: sessions have an expiry time that both must agree on"
	}
	return check
}

// trying makes a check of something that has to succeed: the check as it is written has what is found then, and what mends it else.
func trying(check Check, try func(context.Context) error) func(context.Context) Check {
	return func(ctx context.Context) Check {
		if err := try(ctx); err != nil {
			check.Found = err.Error()
		} else {
			check.Mend = ""
		}
		return check
	}
}

// greeting is the first octet of ZeroMQ's greeting.
const greeting = 0xff

// greeted connects to a publisher and waits for ZeroMQ's greeting.
func greeted(ctx context.Context, endpoint string) error {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", parsed.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, set := ctx.Deadline(); set {
		_ = conn.SetDeadline(deadline)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil || first[0] != greeting {
		return fmt.Errorf("the listener is not a ZeroMQ publisher")
	}
	return nil
}

// oneFlows are the addresses at which a OneFlow may run: OpenNebula's failover hook starts it on the front-end that leads the zone.
func (p Preflight) oneFlows() []string {
	addresses := []string{p.OneFlow}
	configured, err := url.Parse(p.OneFlow)
	if err != nil {
		return addresses
	}
	for _, endpoint := range p.Hooks {
		hooks, err := url.Parse(endpoint)
		if err != nil {
			continue
		}
		host := cmp.Or(map[string]string{"localhost": "127.0.0.1"}[hooks.Hostname()], hooks.Hostname()) // OneFlow's own configuration names localhost
		address := fmt.Sprintf("%s://%s", configured.Scheme, net.JoinHostPort(host, configured.Port()))
		if !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// checkOneFlow checks that OneFlow is stopped: two servers must not drive the same services.
func checkOneFlow(ctx context.Context, address string) Check {
	check := Check{What: "OneFlow at " + address, Found: "is stopped"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/flowjet/v1/version", http.NoBody)
	if err != nil {
		return check
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return check
	}
	answer.Body.Close()
	check.Found, check.Mend = "still answers", "stop it on every front-end (systemctl disable --now opennebula-flow): two servers must not run the same services"
	if answer.StatusCode == http.StatusOK {
		check.What, check.Found, check.Mend = "the API at "+address, "is already Flowjet", ""
	}
	return check
}
