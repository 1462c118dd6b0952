package walk

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strings"

	"github.com/flowjet/flowjet/internal/poll"
)

// balance prepares the steps with HAProxy: they are left out, with a word, where there is
// none to install.
func (g *guide) balance(page map[string]section) {
	g.t.Helper()
	g.port = "2474"
	if _, err := exec.LookPath("haproxy"); err == nil {
		return
	}
	fmt.Println("walk: SKIPPED the balancer: haproxy is not installed")
	g.port = "2475"
	for title, s := range page {
		var kept []step
		for _, one := range s.steps {
			if strings.Contains(one.path, "haproxy") || strings.Contains(strings.Join(one.commands, "\n"), "haproxy -c") {
				continue
			}
			for i := range one.commands {
				one.commands[i] = strings.Replace(one.commands[i], " haproxy ", " ", 1)
			}
			kept = append(kept, one)
		}
		page[title] = section{title: s.title, steps: kept, rows: s.rows}
	}
}

var (
	portRow   = regexp.MustCompile(`^\| ([0-9, ]+) \| `)
	portIn    = regexp.MustCompile(`\d+`)
	listening = regexp.MustCompile(`(?m)^LISTEN +\d+ +\d+ +(\S+):(\d+) .*"(flowjet|haproxy)"`)
)

// portsAreThose holds the page's table of ports against what listens on each front-end.
func (g *guide) portsAreThose(s section) {
	g.t.Helper()
	table := map[string]bool{}
	for _, row := range s.rows {
		if cells := portRow.FindStringSubmatch(row); cells != nil {
			for _, port := range portIn.FindAllString(cells[1], -1) {
				table[port] = true
			}
		}
	}
	for _, m := range g.frontEnds {
		found := map[string]bool{"2101": true, "2633": true} // OpenNebula's own
		for _, one := range listening.FindAllStringSubmatch(m.runs("ss -Hltnp"), -1) {
			found[one[2]] = true
			if !table[one[2]] {
				g.t.Errorf("%s: %s listens on %s:%s, which the page does not have", m.name, one[3], one[1], one[2])
			}
		}
		for port := range table {
			if !found[port] && (port != "2474" || g.port == "2474") {
				g.t.Errorf("%s: nothing listens on %s, which the page has", m.name, port)
			}
		}
	}
}

// eventsStream holds that an event comes through the balancer at once.
func (g *guide) eventsStream(c *customer) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), poll.Limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.addresses[0]+"/flowjet/v1/events?since=0", http.NoBody)
	must(g.t, err)
	request.SetBasicAuth("oneadmin", "opennebula")
	response, err := http.DefaultClient.Do(request)
	must(g.t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			return
		}
	}
	g.t.Errorf("no event comes through the balancer: %s %v", response.Status, lines.Err())
}
