package restapi

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
)

// browser is a headless Chromium with the live page in it.
type browser struct {
	*world
	ctx context.Context

	mu       sync.Mutex
	problems []string
	outside  []string
}

// newBrowser starts Chromium. Without one the test is skipped, but not in CI.
func newBrowser(t *testing.T, w *world) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no Chromium: .ci/run installs it")
		}
		t.Skip("there is no Chromium to show the page in: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WindowSize(1360, 1000),
		chromedp.WSURLReadTimeout(time.Minute))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{world: w, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.do(log.Enable(), chromedp.Navigate(w.url+pageRoot), chromedp.WaitVisible("#login"))
	return b
}

// listen notes what goes wrong on the page and what it asks others for.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Error())
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "the server responded with a status of") {
			b.problems = append(b.problems, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.url) && !strings.HasPrefix(e.Request.URL, "data:") {
			b.outside = append(b.outside, e.Request.URL)
		}
	}
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	b.must(chromedp.Run(b.ctx, actions...))
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	var text string
	b.do(chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector), &text))
	return text
}

// shows waits until an element's text contains a part.
func (b *browser) shows(selector, part string) {
	b.t.Helper()
	poll.Until(b.t, fmt.Sprintf("%s to show %q", selector, part), func() bool { return strings.Contains(b.text(selector), part) })
}

func (b *browser) logIn(user, password string) {
	b.t.Helper()
	b.do(chromedp.SetValue("#user", user), chromedp.SetValue("#password", password), chromedp.Click("#login button[type=submit]"))
}

// picture keeps a screenshot for the documentation, if that was asked for.
func (b *browser) picture(name string, width, height int64, actions ...chromedp.Action) {
	b.t.Helper()
	folder := os.Getenv("FLOWJET_SCREENSHOTS")
	if folder == "" {
		return
	}
	var image []byte
	actions = append([]chromedp.Action{chromedp.EmulateViewport(width, height)}, actions...)
	b.do(append(actions, chromedp.CaptureScreenshot(&image))...)
	b.must(os.WriteFile(filepath.Join(folder, name), image, 0o644))
}

func scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
}

const shop = `{"name":"shop","deployment":"straight","roles":[
	{"name":"db","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":3},
	{"name":"cache","type":"vm","cardinality":1,"template_id":0},
	{"name":"app","type":"vm","cardinality":2,"template_id":0,"parents":["db","cache"],"min_vms":1,"max_vms":5,"cooldown":1},
	{"name":"web","type":"vm","cardinality":2,"template_id":0,"parents":["app"]}]}`

// deployed makes a service of a template and waits until it runs.
func (w *world) deployed(user, template string) string {
	w.t.Helper()
	made, _ := w.document(w.expect(user, "POST", "/service_template", template, 201, ""))
	id, _ := w.document(w.expect(user, "POST", "/service_template/"+made+"/action", perform("instantiate", `{}`), 201, ""))
	poll.Until(w.t, "service "+id+" to run", func() bool { return stateIn(w.call(user, "GET", "/service/"+id, "").body) == flow.ServiceRunning })
	return id
}

// TestPage goes through the live page as its user does.
func TestPage(t *testing.T) {
	heard := FeedHealth{Endpoint: "tcp://127.0.0.1:2101", Connected: true, EventsPerSecond: 2.5, Role: "solo", Leads: true, Publishes: true}
	w := newWorld(t, Config{Feeds: func() []FeedHealth { return []FeedHealth{heard} }})
	w.whole()
	wiki := w.deployed(alice, strings.Replace(twoRoles, `"svc"`, `"wiki"`, 1))
	broken := w.deployed(admin, strings.Replace(twoRoles, `"svc"`, `"mail"`, 1))
	id := w.deployed(admin, shop)
	_, body := w.document(w.call(admin, "GET", "/service/"+broken, ""))
	w.must(w.oned.For("oneadmin").ActOnVM(t.Context(), "poweroff", body.Roles[1].Nodes[0].DeployID))
	b := newBrowser(t, w)

	b.logIn("oneadmin", "wrong")
	b.shows("#refused", "does not know this user")
	b.picture("page-login.png", 900, 560)
	b.logIn("oneadmin", "opennebula")
	b.do(chromedp.WaitVisible("#board"))
	b.shows("#connection", "Live")
	b.shows("#count", "(3)")
	b.shows("#services", "warning")
	b.shows("#feeds", heard.Endpoint)
	b.shows("#workers", "alive")
	b.shows("#workers", "shares events out")

	// Chosen with the keyboard.
	b.do(chromedp.Focus(`#services a[href="#/service/`+id+`"]`), chromedp.KeyEvent("\r"))
	b.shows("#service-title", "shop")
	b.shows("#facts", "owner oneadmin")
	b.shows("#summary", "RUNNING")
	b.shows("#timeline", "Role web")
	b.shows("#roles", "db, cache")
	var nodes, edges int
	var focus string
	b.do(chromedp.Evaluate(`document.querySelectorAll("#graph g.running").length`, &nodes),
		chromedp.Evaluate(`document.querySelectorAll("#graph .edge").length`, &edges),
		chromedp.Evaluate(`document.activeElement.id`, &focus))
	if nodes != 4 || edges != 3 || focus != "service-title" {
		t.Errorf("%d roles and %d edges, the focus is on %q", nodes, edges, focus)
	}

	// Live, without anything being loaded again.
	w.expect(admin, "POST", "/service/"+id+"/scale", `{"role_name":"app","cardinality":3}`, 204, "")
	b.shows("#timeline", "command: scale by oneadmin")
	b.shows("#roles", "3 of 3")
	b.shows("#announcer", "shop is ")
	b.shows("#service-title", "running")
	b.picture("page-light.png", 1360, 1180, scheme("light"))
	b.picture("page-dark.png", 1360, 1180, scheme("dark"))
	b.do(chromedp.Evaluate(`location.hash = "#/service/`+broken+`"`, nil))
	b.shows("#service-title", "mail")
	b.shows("#reasons", "POWEROFF")
	b.picture("page-warning.png", 1360, 900, scheme("light"))
	b.picture("page-narrow.png", 420, 900, scheme("dark"))
	b.picture("page-system.png", 1360, 560, scheme("light"), chromedp.ScrollIntoView("#workers table"))
	b.checkReadable()

	// Whatever users write is text; markup in a name oned refuses already.
	w.expect(admin, "POST", "/service/"+wiki+"/action", perform("rename", `{"name":"&lt;img src=x&gt;"}`), 500, "not allowed")
	w.expect(admin, "POST", "/service/"+wiki+"/action", perform("rename", `{"name":"img src=x onerror=alert(1)"}`), 204, "")
	w.expect(alice, "POST", "/service/"+wiki+"/scale", `{"role_name":"Master","cardinality":2}`, 204, "")
	b.shows("#services", "img src=x onerror=alert(1)")

	w.expect(admin, "DELETE", "/service/"+id, "", 204, "")
	b.shows("#count", "(2)")
	b.checkForgetting(broken)
	b.checkClean()
}

// checkReadable holds what a screen reader and a weak eye need.
func (b *browser) checkReadable() {
	b.t.Helper()
	for _, name := range []string{"light", "dark"} {
		var poor []string
		b.do(scheme(name), chromedp.Evaluate(contrasts, &poor))
		if len(poor) > 0 {
			b.t.Errorf("%s: %q", name, poor)
		}
	}
	var unnamed []string
	b.do(chromedp.Evaluate(`[...document.querySelectorAll("input, select")].filter((e) => !e.labels.length).map((e) => e.id)
		.concat([...document.querySelectorAll("section, nav")].filter((e) => !e.hasAttribute("aria-labelledby")).map((e) => e.id))
		.concat([...document.querySelectorAll("img:not([alt]), svg:not([aria-label])")].map((e) => e.outerHTML))
		.concat([...document.querySelectorAll(".state")].filter((e) => !e.textContent).map((e) => e.outerHTML))`, &unnamed))
	if len(unnamed) > 0 {
		b.t.Errorf("without a name for a screen reader: %q", unnamed)
	}
}

// contrasts lists the elements whose text stands out too little: the Web Content
// Accessibility Guidelines ask for 4.5 to 1.
const contrasts = `(() => {
	const parse = (text) => text.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
	return [...document.querySelectorAll("body *")].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility() && !e.closest("svg")).filter((e) => {
		const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
		return (a + 0.05) / (b + 0.05) < 4.5;
	}).map((e) => e.className + ": " + e.textContent.slice(0, 40));
})()`

// checkForgetting holds that name and password end with the log-out and with
// loading the page again, and not with a link to a service of somebody else.
func (b *browser) checkForgetting(others string) {
	b.t.Helper()
	b.do(chromedp.Click("#leave"), chromedp.WaitVisible("#login"), chromedp.WaitNotVisible("#board"))
	b.logIn("alice", "alice")
	b.shows("#count", "(1)")
	b.shows("#workers", "only oneadmin and members of its group")
	b.do(chromedp.Evaluate(`location.hash = "#/service/`+others+`"`, nil))
	b.shows("#service-title", "not yours to see")
	b.shows("#count", "(1)")
	var kept string
	b.do(chromedp.Evaluate(`JSON.stringify([localStorage.length, sessionStorage.length, document.cookie, document.getElementById("password").value])`, &kept))
	if kept != `[0,0,"",""]` {
		b.t.Errorf("the browser keeps %s", kept)
	}
	b.do(chromedp.Reload(), chromedp.WaitVisible("#login"), chromedp.WaitNotVisible("#board"))
}

func (b *browser) checkClean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.problems)+len(b.outside) > 0 {
		b.t.Errorf("problems %q, requests to others %q", b.problems, b.outside)
	}
}

func TestPageFiles(t *testing.T) {
	s, _ := fakeServer(t, Config{}, &fakeQueue{})
	for path, contentType := range map[string]string{
		"/flowjet/": "text/html; charset=utf-8", "/flowjet/page/page.js": "text/javascript; charset=utf-8",
		"/flowjet/page/page.css": "text/css; charset=utf-8", "/flowjet/page/icon.svg": "image/svg+xml",
	} {
		w := ask(s, http.MethodGet, path, "")
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || w.Header().Get("Content-Type") != contentType || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/flowjet/page/", "/flowjet/page/x.js", "/flowjet/page/..%2fpage.go", "/flowjet/page"} {
		if w := ask(s, http.MethodGet, path, ""); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := ask(s, http.MethodGet, "/flowjet", ""); w.Code != 308 || w.Header().Get("Location") != "/flowjet/" {
		t.Errorf("/flowjet: %d %v", w.Code, w.Header())
	}
}
