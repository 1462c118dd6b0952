package restapi

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
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
		chromedp.WSURLReadTimeout(poll.Limit))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 10*poll.Limit) // each step has a limit of its own
	t.Cleanup(cancel)
	b := &browser{world: w, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.do(log.Enable(), emulation.SetFocusEmulationEnabled(true) /* all tabs are to be seen */, chromedp.Navigate(w.url+pageRoot), chromedp.WaitVisible("#login"))
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
	shown := ""
	b.t.Cleanup(func() {
		if !strings.Contains(shown, part) {
			b.t.Logf("%s shows %q", selector, shown)
		}
	})
	poll.Until(b.t, fmt.Sprintf("%s to show %q", selector, part), func() bool {
		shown = b.text(selector)
		return strings.Contains(shown, part)
	})
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

func scheme(name string) chromedp.Action { return media("prefers-color-scheme", name) }

func media(feature, value string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: feature, Value: value}})
}

// focused waits until an element that matches the selector has the focus.
func (b *browser) focused(selector string) {
	b.t.Helper()
	poll.Until(b.t, selector+" to have the focus", func() bool { return b.is(fmt.Sprintf("document.activeElement.matches(%q)", selector)) })
}

// is reports whether an expression is true.
func (b *browser) is(expression string) bool {
	b.t.Helper()
	var is bool
	b.do(chromedp.Evaluate("Boolean("+expression+")", &is))
	return is
}

// enter presses the Enter key on an element.
func (b *browser) enter(selector string) {
	b.t.Helper()
	b.do(chromedp.Focus(selector), chromedp.KeyEvent(kb.Enter))
}

const shop = `{"name":"shop","deployment":"straight","roles":[
	{"name":"db","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":3},
	{"name":"cache","type":"vm","cardinality":1,"template_id":0},
	{"name":"app","type":"vm","cardinality":2,"template_id":0,"parents":["db","cache"],"min_vms":1,"max_vms":5,"cooldown":1},
	{"name":"web","type":"vm","cardinality":2,"template_id":0,"parents":["app"],"heal":{"action":"recreate","after":"90s"}}]}`

// deployed makes a service of a template and waits until it runs.
func (w *world) deployed(user, template string) string {
	w.t.Helper()
	made, _ := w.document(w.expect(user, "POST", "/service_template", template, 201, ""))
	id, _ := w.document(w.expect(user, "POST", "/service_template/"+made+"/action", perform("instantiate", `{}`), 201, ""))
	poll.Until(w.t, "service "+id+" to run", func() bool { return stateIn(w.call(user, "GET", "/service/"+id, "").body) == spec.ServiceRunning })
	return id
}

// TestPage goes through the live page as its user does.
func TestPage(t *testing.T) {
	heard := FeedHealth{Endpoint: "tcp://127.0.0.1:2101", Connected: true, EventsPerSecond: 2.5, Role: "solo", Leads: true, Publishes: true}
	w := newWorld(t, Config{
		Feeds: func() []FeedHealth { return []FeedHealth{heard} }, VMLink: "https://sunstone.example.com/fireedge/sunstone/vm/{id}",
	})
	w.whole()
	w.deployed(alice, strings.Replace(twoRoles, `"svc"`, `"wiki"`, 1))
	broken := w.deployed(admin, strings.Replace(twoRoles, `"svc"`, `"mail"`, 1))
	id := w.deployed(admin, shop)
	_, body := w.document(w.call(admin, "GET", "/service/"+broken, ""))
	w.must(w.oned.For("oneadmin").ActOnVM(t.Context(), "poweroff", body.Roles[1].Nodes[0].DeployID))
	b := newBrowser(t, w)

	b.accessible("the log-in")
	b.logIn("oneadmin", "wrong")
	b.shows("#refused", "does not know this user")
	b.picture("page-login.png", 900, 560)
	b.logIn("oneadmin", "opennebula")
	b.do(chromedp.WaitVisible("#board"))
	b.shows("#connection", "Live")
	b.shows("#count", "(3)")
	b.shows("#states", "warning 1")

	// Chosen with the keyboard.
	b.do(chromedp.Focus(`#services li[data-id="`+id+`"] a`), chromedp.KeyEvent("\r"))
	b.shows("#service-title", "shop")
	b.shows("#facts", "owner oneadmin")
	b.shows("#facts", "6 of 6 VMs run")
	b.shows("#summary", "In state running since")
	b.shows("title", "Service "+id)
	b.shows("#timeline", "Role web")
	b.shows("#roles", "after db, cache")
	b.shows("#roles", "running")
	b.shows("#roles", "healed: recreate after 1m30s, at most 3 an hour")
	b.shows("#log", "New state: RUNNING")
	b.leadToSunstone(id)
	b.shows("#beginning", "This is the beginning")
	var nodes, edges int
	b.do(chromedp.Evaluate(`document.querySelectorAll("#graph a.running").length`, &nodes),
		chromedp.Evaluate(`document.querySelectorAll("#graph .edge").length`, &edges))
	if nodes != 4 || edges != 3 {
		t.Errorf("the graph has %d running roles and %d edges", nodes, edges)
	}
	b.accessible("a service")
	b.picture("page-light.png", 1360, 1000, scheme("light"))
	b.picture("page-dark.png", 1360, 1000, scheme("dark"))
	b.do(scheme("light"))

	b.checkFocus(id)
	b.checkKeyboard(id)
	b.checkHeard()
	b.checkMedia()
	b.checkAway()
	b.checkTabs(id)
	b.checkReload()
	b.checkList(broken)
	b.checkNarrow()
	b.visit("#/system")
	b.shows("#feeds", heard.Endpoint)
	b.shows("#workers", "running")
	b.accessible("the system")
	b.picture("page-system.png", 1360, 760)
	b.checkChanges(id)
	b.checkLogOut(id)
	b.checkClean()
}

// checkFocus: what has the focus keeps it when the service is drawn anew.
func (b *browser) checkFocus(id string) {
	b.t.Helper()
	_, body := b.document(b.call(admin, "GET", "/service/"+id, ""))
	vm := body.Roles[0].Nodes[0].DeployID
	for _, focused := range []string{
		`[...document.querySelectorAll("#actions button")].find((e) => e.textContent === "Undeploy …")`,
		`document.querySelector('#graph a[data-key="app"]')`,
		fmt.Sprintf(`document.querySelector('#roles a[href$="/vm/%d"]')`, vm),
	} {
		b.do(chromedp.Evaluate(`window.kept = [[...document.querySelectorAll("#actions button")].at(-1), document.querySelector("#timeline li:last-child"),
			document.querySelector("[data-name=db] tbody tr")];`+focused+".focus()", nil))
		b.must(b.oned.For("oneadmin").ActOnVM(b.t.Context(), "poweroff", vm))
		b.shows("#facts", "5 of 6 VMs run")
		if !b.is(focused + " === document.activeElement && window.kept.every((each) => each.isConnected)") {
			b.t.Errorf("%s has lost the focus, or what could have been pressed or read meanwhile was replaced", focused)
		}
		b.must(b.oned.For("oneadmin").ActOnVM(b.t.Context(), "resume", vm))
		b.shows("#facts", "6 of 6 VMs run")
	}
	b.shows("#service-title", "running")
}

// checkKeyboard: the focus is on what a key led to, and stays there.
func (b *browser) checkKeyboard(id string) {
	b.t.Helper()
	b.enter(".skip")
	b.focused("#service-title")
	if !b.is(`location.hash === "#/service/` + id + `"`) {
		b.t.Error("the link to the content leads away from the service")
	}
	b.enter(`#states .running`)
	b.focused(`#states .running[aria-current]`)
	b.shows("#found", "1 to 2 of 2 services")
	b.enter(`#states li:first-child a`)
	b.focused(`#states li:first-child a[aria-current]`)
	b.do(chromedp.Evaluate("history.replaceState(null, '', '#/services'); location.hash = '#/service/"+id+"'", nil))
	b.focused("#service-title")
	b.do(chromedp.Evaluate("history.back()", nil))
	b.focused(`#services [data-key="` + id + `"]`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.focused("#service-title")
}

// checkHeard holds what a screen reader says: states without their signs, the view that is shown, and of many changes how many they are, seldom.
func (b *browser) checkHeard() {
	b.t.Helper()
	if !b.is(`[...document.querySelectorAll(".state")].every((each) => getComputedStyle(each, "::before").content.endsWith('/ ""'))`) {
		b.t.Error("a state's sign is a part of its name")
	}
	if !b.is(`document.querySelector('#views [aria-current="page"]').dataset.view === "services"`) {
		b.t.Error("the view that is shown is not named")
	}
	b.do(chromedp.Evaluate(`{ window.sent = fetch; window.waits = []; const later = setTimeout;
		window.setTimeout = (f, wait, ...rest) => { waits.push(wait); return later(f, wait, ...rest); };
		const event = (n) => 'id: 0\ndata: {"kind":"service","service":9' + n + ',"new":"RUNNING"}\n\n';
		window.fetch = (path, options) => !path.startsWith("/flowjet/v1/events") || path.includes("service=") ? sent(path, options) : Promise.resolve(new Response([0, 1, 2, 3, 4].map(event).join("")));
		document.dispatchEvent(new Event("visibilitychange")) }`, nil))
	b.shows("#announcer", "changes of services, the last: Service 94 is running")
	poll.Until(b.t, "the next announcement to wait", func() bool { return b.is("waits.includes(10000)") }) // the page connects again, and gets as many
	b.do(chromedp.Evaluate(`window.fetch = sent; document.dispatchEvent(new Event("visibilitychange"))`, nil))
	b.shows("#connection", "Live")
}

// checkMedia holds the page to what the system asks for: no motion, and few colours.
func (b *browser) checkMedia() {
	b.t.Helper()
	const turning = `(() => { const sign = document.querySelector(".state"), former = sign.className; sign.className = "state working";
		const name = getComputedStyle(sign, "::before").animationName; sign.className = former; return name !== "none"; })()`
	if !b.is(turning) {
		b.t.Error("nothing moves")
	}
	b.do(media("prefers-reduced-motion", "reduce"))
	if b.is(turning) {
		b.t.Error("a state's sign turns round where motion is not wanted")
	}
	b.do(media("forced-colors", "active"))
	if !b.is(`getComputedStyle(document.querySelector("#services a[aria-current]")).borderInlineStartWidth === "6px"`) {
		b.t.Error("the service that is shown is not marked in the list without colours")
	}
	b.do(scheme("light"))
}

// checkAway: while oned refuses to be read the page says so, and it goes on by itself afterwards.
func (b *browser) checkAway() {
	b.t.Helper()
	for range 2 { // what is shown already, and what is not
		b.must(b.sim.FailCall(sim.CallFailure{Method: "one.document.info", Code: opennebula.CodeInternal, Message: "the database is away", Count: 1000}))
		b.do(chromedp.Evaluate(`document.getElementById("vms").focus(); dispatchEvent(new HashChangeEvent("hashchange", { oldURL: location.href, newURL: location.href }))`, nil))
		b.shows("#problems", "the database is away")
		b.shows("#connection", "Not up to date")
		b.sim.ClearFaults()
		b.shows("#connection", "Live")
		b.shows("#facts", "6 of 6 VMs run")
		b.shows("#problems", "")
	}
}

// tab opens another tab of the same browser, in which the user is logged in.
func (b *browser) tab(hash string) *browser {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	other := &browser{world: b.world, ctx: ctx}
	other.do(emulation.SetFocusEmulationEnabled(true), chromedp.Navigate(b.url+pageRoot+hash))
	return other
}

// checkTabs: tabs share a browser's six connections to a server, and a tab that is not to be seen needs none.
func (b *browser) checkTabs(id string) {
	b.t.Helper()
	var tabs []*browser
	for range 3 {
		tabs = append(tabs, b.tab("#/service/"+id))
		tabs[len(tabs)-1].shows("#facts", "6 of 6 VMs run")
	}
	streams := func(want int) {
		b.t.Helper()
		poll.Until(b.t, fmt.Sprintf("%d streams", want), func() bool {
			b.api.admission.streams.mu.Lock()
			defer b.api.admission.streams.mu.Unlock()
			return b.api.admission.streams.taken == want
		})
	}
	streams(4)
	hidden := func(tab *browser, hidden bool) {
		tab.do(chromedp.Evaluate(fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %t, configurable: true }); document.dispatchEvent(new Event("visibilitychange"))`, hidden), nil))
	}
	for _, tab := range tabs {
		hidden(tab, true)
	}
	streams(1)
	hidden(tabs[0], false)
	tabs[0].shows("#connection", "Live")
	for _, tab := range tabs {
		b.must(chromedp.Cancel(tab.ctx))
	}
	streams(1)
}

// leadToSunstone holds the links of the VMs.
func (b *browser) leadToSunstone(id string) {
	b.t.Helper()
	_, body := b.document(b.call(admin, "GET", "/service/"+id, ""))
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			var links int
			link := fmt.Sprintf(`#roles a[href="https://sunstone.example.com/fireedge/sunstone/vm/%d"][rel="noreferrer"]`, node.DeployID)
			b.do(chromedp.Evaluate(fmt.Sprintf("document.querySelectorAll(%q).length", link), &links))
			if links != 1 {
				b.t.Errorf("%d links lead to VM %d", links, node.DeployID)
			}
		}
	}
}

// visit opens an address of the page.
func (b *browser) visit(hash string) {
	b.t.Helper()
	b.do(chromedp.Evaluate(fmt.Sprintf("location.hash = %q", hash), nil))
}

// accessible holds the page to what axe-core finds, in light and dark.
func (b *browser) accessible(what string) {
	b.t.Helper()
	axe, err := os.ReadFile("../tools/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		if os.Getenv("CI") == "true" {
			b.t.Fatal("axe-core is not there: .ci/run installs it")
		}
		b.t.Log("without axe-core nothing is found: npm ci --prefix tools/axe")
		return
	}
	for _, name := range []string{"light", "dark"} {
		var found []string
		b.do(scheme(name), chromedp.Evaluate(string(axe)+";0", nil),
			chromedp.Evaluate(`axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 160) + " " + n.failureSummary)))`, &found,
				func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
		for _, each := range found {
			b.t.Errorf("%s, %s: %s", what, name, each)
		}
	}
	b.do(scheme("light"))
}

// checkReload holds that a session survives loading the page again, and that nothing which
// scripts can read holds a secret.
func (b *browser) checkReload() {
	b.t.Helper()
	var kept string
	b.do(chromedp.Evaluate(`JSON.stringify([localStorage.length, sessionStorage.length, document.cookie, document.getElementById("password").value])`, &kept))
	if kept != `[0,0,"",""]` {
		b.t.Errorf("the browser keeps %s", kept)
	}
	b.do(network.SetBlockedURLs([]string{"*/v1/session"}), chromedp.Reload())
	b.shows("#refused", "The API does not answer")
	b.do(network.SetBlockedURLs([]string{"*/v1/nothing"}), chromedp.WaitVisible("#board")) // by itself
	b.shows("#service-title", "shop")
	b.shows("#who", "oneadmin")
	b.checkExpiry()
}

// checkExpiry: where a session ends while a dialog is open, its user logs in again and is where he was.
func (b *browser) checkExpiry() {
	b.t.Helper()
	b.press("#actions", "Scale …")
	b.do(chromedp.WaitVisible("#cardinality"), chromedp.SetValue("#cardinality", "3"), chromedp.Focus("#cardinality"),
		network.ClearBrowserCookies(), chromedp.KeyEvent(kb.Enter)) // the page may ask for the login before the key comes
	b.shows("#refused", "your session has ended")
	b.focused("#user")
	b.logIn("oneadmin", "wrong")
	b.shows("#refused", "does not know this user")
	b.focused(`#password[aria-invalid="true"][aria-describedby="refused"]`)
	b.logIn("oneadmin", "opennebula")
	b.shows("#who", "oneadmin")
	b.shows("#service-title", "shop")
	b.do(chromedp.WaitVisible("#cardinality"), chromedp.KeyEvent(kb.Enter))
	b.shows("#dialog .plan", "create db_2") // what was typed is there
	b.do(chromedp.KeyEvent(kb.Escape), chromedp.WaitNotVisible("#dialog"))
}

// checkList filters and searches, with the state in the address.
func (b *browser) checkList(broken string) {
	b.t.Helper()
	b.shows("#states", "warning 1")
	b.do(chromedp.Click(`#states .warning`))
	b.shows("#count", "(1)")
	b.shows("#services", "mail")
	b.shows("#services", "1 of 2 VMs run")
	var hash string
	b.do(chromedp.Evaluate("location.hash", &hash))
	if !strings.HasSuffix(hash, "?state=WARNING") {
		b.t.Errorf("the address is %s", hash)
	}
	b.visit("#/service/" + broken + "?state=WARNING")
	b.shows("#service-title", "mail")
	b.shows("#why", "POWEROFF")
	b.shows("#roles", "poweroff")
	b.accessible("a service in trouble")
	b.picture("page-warning.png", 1360, 900)
	b.visit("#/services?q=wiki")
	b.shows("#count", "(1)")
	b.visit("#/services?q=nothing")
	b.shows("#none", "No service matches")
	b.visit("#/service/424242")
	b.shows("#hint", "there is no service 424242")
	b.visit("#/services")
	b.shows("#count", "(3)")
}

// checkNarrow holds that nothing is cut off from 360 to 2,560 pixels.
func (b *browser) checkNarrow() {
	b.t.Helper()
	for _, view := range []string{"#/services", "#/service/" + b.idOf("shop"), "#/templates", "#/system"} {
		b.visit(view)
		for _, width := range []int64{320, 360, 700, 900, 1000, 1360, 2560} {
			b.do(chromedp.EmulateViewport(width, 900))
			var over int
			poll.Until(b.t, fmt.Sprintf("%s to fit %d pixels", view, width), func() bool {
				b.do(chromedp.Evaluate("document.documentElement.scrollWidth - innerWidth", &over))
				return over <= 0
			})
		}
	}
	b.visit("#/service/" + b.idOf("shop"))
	b.do(chromedp.EmulateViewport(360, 900))
	b.shows("#facts", "6 of 6")
	b.accessible("a phone")
	b.picture("page-narrow.png", 360, 900)
	b.do(chromedp.EmulateViewport(1360, 1000))
}

func (b *browser) idOf(name string) string {
	b.t.Helper()
	for _, row := range b.listed(admin, "?q="+url.QueryEscape(name)).Rows {
		if row.Name == name {
			return fmt.Sprint(row.ID)
		}
	}
	b.t.Fatalf("there is no service %s", name)
	return ""
}

// press presses the button of a text, twice where that is possible.
func (b *browser) press(within, text string) {
	b.t.Helper()
	poll.Until(b.t, "the button "+text, func() bool {
		var there bool
		b.do(chromedp.Evaluate(fmt.Sprintf(`(() => { const found = [...document.querySelectorAll(%q + " button")].find((e) => e.textContent === %q && !e.disabled);
			found?.focus(); found?.click(); found?.click(); return Boolean(found); })()`, within, text), &there))
		return there
	})
}

// checkChanges makes a service of a template's form, scales it and ends it.
func (b *browser) checkChanges(id string) {
	b.t.Helper()
	b.expect(admin, "POST", "/service_template", strings.NewReplacer(`"Public":`, `"Inside":"O|network|Optional| |","Public":`,
		`"NOTE":"O|text|A note| |"}`, `"NOTE":"O|text64|A note| |"},"user_inputs_values":{"NOTE":"Z3LDvG4="}`).Replace(inputs), 201, "")
	b.visit("#/templates")
	b.shows("#templates", "form")
	b.do(chromedp.Evaluate("crypto.randomUUID = undefined", nil)) // it is not there without TLS
	b.accessible("the templates")
	b.enter(`button[aria-label="Instantiate form"]`)
	b.do(chromedp.WaitVisible("#dialog"))
	b.expect(admin, "POST", "/service_template", strings.Replace(twoRoles, `"svc"`, `"another"`, 1), 201, "")
	b.visit("#/templates?q=x") // read again
	b.shows("#templates", "another")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.focused(`button[aria-label="Instantiate form"]`) // drawn anew meanwhile
	b.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#dialog"))
	b.accessible("a form")
	if !b.is(`document.querySelector('textarea[name="input NOTE"]').value === "grün"`) {
		b.t.Error("a value of type text64 is not shown as its text")
	}
	b.do(chromedp.SetValue(`[name="input NOTE"]`, "one\nzwölf"), chromedp.SetValue(`[name="name"]`, "made here"), chromedp.SetValue(`[name="input SECRET"]`, "]]>"))
	b.press("#dialog", "Show what would happen")
	b.shows("#refusal", "the value of SECRET contains")
	b.focused(`[name="input SECRET"][aria-invalid="true"][aria-describedby="refusal"]`)
	b.do(chromedp.SetValue(`[name="input SECRET"]`, "s3cret"))
	b.press("#dialog", "Show what would happen")
	b.shows("#dialog .plan", "Then the service is running")
	b.picture("page-form.png", 1360, 900)
	b.must(b.sim.FailCall(sim.CallFailure{Method: "one.document.allocate", Code: opennebula.CodeAuthorization}))
	b.press("#dialog", "Instantiate")
	b.shows("#dialog .plan", "one.document.allocate")
	b.sim.ClearFaults()
	b.press("#dialog", "Show what would happen") // what was refused may be sent again
	b.shows("#dialog .plan", "Then the service is running")
	b.press("#dialog", "Instantiate")
	b.shows("#service-title", "made here")
	b.shows("#facts", "3 of 3 VMs run")
	b.shows("#inputs", "set, not shown")
	b.shows("#inputs", "one\nzwölf")
	b.expect(admin, "GET", "/service/"+b.idOf("made here"), "", 200, base64.StdEncoding.EncodeToString([]byte("one\nzwölf")))
	b.shows("#networks", "left out")
	b.shows("#roles", "Policies of db")
	poll.Until(b.t, "the service to be listed", func() bool { return len(b.listed(admin, "?q=made").Rows) > 0 })
	if rows := b.listed(admin, "?q=made").Rows; len(rows) != 1 {
		b.t.Errorf("%d services were made", len(rows))
	}
	b.press("#actions", "Scale …")
	b.do(chromedp.WaitVisible("#cardinality"), chromedp.SetValue("#cardinality", "9"))
	b.press("#dialog", "Show what would happen")
	b.shows("#refusal", "its max_vms is 3")
	b.focused(`#cardinality[aria-invalid="true"][aria-describedby="refusal"]`)
	b.accessible("a refusal")
	b.do(chromedp.SetValue("#cardinality", "2"), chromedp.SendKeys("#cardinality", "\r")) // no plan, no change
	b.shows("#dialog .plan", "create db_1")
	b.checkQueued("Scale")
	b.press("#dialog", "Show what would happen")
	b.shows("#dialog .plan", "create db_1")
	b.checkTries("Scale")
	b.press("#dialog", "Show what would happen")
	b.shows("#dialog .plan", "create db_1")
	b.expect(admin, "POST", "/service/"+b.idOf("made here")+"/action", perform("rename", `{"name":"made anew"}`), 204, "")
	b.press("#dialog", "Scale") // the same would happen still
	b.shows("#facts", "4 of 4 VMs run")
	b.focused("#service-title") // the button is gone
	b.visit("#/service/" + id)
	b.shows("#service-title", "shop")
	b.press("#actions", "Owner …")
	b.shows("#dialog .plan", "change their owner too")
	b.accessible("a change of owner")
	b.do(chromedp.SetValue("#owner", "nobody"))
	b.press("#dialog", "Change the owner")
	b.shows("#dialog .plan", "is not the name of a user or group that you may see")
	b.focused(`#owner[aria-invalid="true"][aria-describedby="refusal"]`)
	b.do(chromedp.Evaluate(`{ const owner = document.querySelector("#owner"); owner.value = "alice"; owner.dispatchEvent(new Event("input", { bubbles: true })) }`, nil))
	if b.is(`document.querySelector("#dialog [aria-invalid]")`) {
		b.t.Error("a value that was changed is still marked as refused")
	}
	b.press("#dialog", "Change the owner")
	b.shows("#facts", "owner alice")
	b.press("#actions", "Owner …")
	b.do(chromedp.WaitVisible("#owner"), chromedp.SetValue("#owner", "0"))
	b.press("#dialog", "Change the owner")
	b.shows("#facts", "owner oneadmin")
	b.press("#actions", "Undeploy …")
	b.shows("#dialog .plan", "Then the service is gone")
	b.expect(admin, "POST", "/service/"+id+"/scale", `{"role_name":"app","cardinality":3}`, 204, "")
	b.shows("#facts", "7 of 7 VMs run")
	b.shows("#service-title", "running")
	b.press("#dialog", "Undeploy")
	b.shows("#dialog .plan", "The service has changed meanwhile.")
	b.press("#dialog", "Undeploy")
	b.shows("#service-title", "deleted")
	b.focused("#service-title")
	b.shows("#count", "(3)")
}

// checkQueued: a change that no worker has carried out yet is not shown as done, and a later refusal is shown.
func (b *browser) checkQueued(button string) {
	b.t.Helper()
	b.do(chromedp.Evaluate(`{ window.state = "queued"; window.sent = fetch; const answer = (status, body) => Promise.resolve(new Response(JSON.stringify(body), { status }));
		window.fetch = (path, options) => options?.headers?.["If-Match"] ? answer(202, { id: "c1" }) :
			path.endsWith("/commands/c1") ? answer(200, { state: window.state, message: "it is being undeployed" }) : sent(path, options) }`, nil))
	b.press("#dialog", button)
	b.shows("#dialog .plan", "Queued: no worker has carried it out yet")
	b.do(chromedp.Evaluate(`window.state = "refused"`, nil))
	b.shows("#dialog .plan", "it is being undeployed")
	b.do(chromedp.Evaluate(`window.fetch = window.sent`, nil))
}

// checkTries holds how often a change is sent where the service has a later version each time: five times, each with a key of its own.
func (b *browser) checkTries(button string) {
	b.t.Helper()
	b.do(chromedp.Evaluate(`{ window.keys = []; window.sent = fetch;
		window.fetch = (path, options) => !options?.headers?.["If-Match"] ? sent(path, options) :
			(keys.push(options.headers["Idempotency-Key"]), Promise.resolve(new Response('{"detail":"it has changed again"}', { status: 412 }))) }`, nil))
	b.press("#dialog", button)
	b.shows("#dialog .plan", "it has changed again")
	var tries []int
	b.do(chromedp.Evaluate(`window.fetch = sent; [keys.length, new Set(keys).size]`, &tries))
	if !slices.Equal(tries, []int{5, 5}) {
		b.t.Errorf("the change was sent %d times with %d keys", tries[0], tries[1])
	}
}

// checkLogOut logs in as another user, who sees less.
func (b *browser) checkLogOut(gone string) {
	b.t.Helper()
	hidden := b.idOf("mail")
	other := b.tab("#/services")
	other.shows("#who", "oneadmin")
	b.do(chromedp.Click("#leave"), chromedp.WaitVisible("#login"), chromedp.WaitNotVisible("#board"))
	other.do(chromedp.WaitVisible("#login"))
	b.do(chromedp.Reload(), chromedp.WaitVisible("#login"))
	b.logIn("alice", "alice")
	other.shows("#who", "alice")
	b.must(chromedp.Cancel(other.ctx))
	b.shows("#count", "(1)")
	b.shows("#hint", "there is no service "+gone)
	b.visit("#/service/" + hidden)
	b.shows("#hint", "may not see this service")
	b.shows("#who", "alice")
	b.visit("#/service/" + b.idOf("wiki"))
	b.shows("#actions", "Undeploy …")
	var owner int
	b.do(chromedp.Evaluate(`[...document.querySelectorAll("#actions button")].filter((button) => button.textContent.startsWith("Owner")).length`, &owner))
	if owner != 0 {
		b.t.Error("a tenant is offered to give his service away, which oned does not allow")
	}
	b.shows("#service-title", "wiki")
	b.expect(admin, "POST", "/service/"+b.idOf("wiki")+"/action", perform("chown", `{"owner_id":0,"group_id":0}`), 204, "")
	b.visit("#/service/" + b.idOf("wiki") + "?sort=name") // read again
	b.shows("#hint", "may not see this service")
	if title := b.text("#service-title"); strings.Contains(title, "deleted") {
		b.t.Errorf("a service that only is not the user's to see any more is shown as %s", title)
	}
	b.do(chromedp.WaitNotVisible("#views [data-view=system]"))
	b.visit("#/system")
	b.shows("#workers", "oneadmin")
}

// TestPageOfManyServices holds what the page loads and draws to a bound, however much there is:
// 2,000 services, and a role of 400 VMs.
func TestPageOfManyServices(t *testing.T) {
	w := newWorld(t, Config{})
	allocate := func(name string, nodes int) int {
		var list []string
		for i := range nodes {
			list = append(list, fmt.Sprintf(`{"deploy_id":%d}`, 1000+i))
		}
		id, err := w.oned.For("alice").AllocateDocument(t.Context(), spec.DocumentTypeService, name, fmt.Appendf(nil,
			`{"name":%q,"state":2,"roles":[{"name":"many","type":"vm","cardinality":%d,"template_id":0,"state":2,"nodes":[%s]}]}`, name, nodes, strings.Join(list, ",")))
		w.must(err)
		return id
	}
	for i := range 2000 {
		allocate(fmt.Sprintf("service %04d", i), 1)
	}
	large := allocate("large", 400)
	got := w.call(alice, "GET", "/flowjet/v1/services", "", "Accept-Encoding", "gzip")
	if got.status != 200 || len(got.body) > 3000 {
		t.Errorf("a page of the list takes %d bytes", len(got.body))
	}
	b := newBrowser(t, w)
	b.logIn("alice", "alice")
	b.shows("#count", "(2001)")
	b.shows("#pages", "1 to 50 of 2001")
	b.enter("#pages a")
	b.shows("#pages", "51 to 100 of 2001")
	b.focused(`#pages [data-key="next"]`)
	b.visit(fmt.Sprintf("#/service/%d?offset=1950", large))
	b.shows("#pages", "1951 to 2000")
	b.shows("#roles", "many")
	b.press("#roles", "Show 50 more of 392 VMs")
	b.shows("#roles", "58 of 400")
	var elements int
	b.do(chromedp.Evaluate(`document.querySelectorAll("*").length`, &elements))
	if elements > 2000 {
		t.Errorf("the page has %d elements", elements)
	}
	var roles []string
	for i := range 300 {
		roles = append(roles, fmt.Sprintf(`{"name":"r%d","type":"vm","cardinality":0,"template_id":0,"state":2}`, i))
	}
	id, err := w.oned.For("alice").AllocateDocument(t.Context(), spec.DocumentTypeService, "wide", fmt.Appendf(nil, `{"name":"wide","state":2,"roles":[%s]}`, strings.Join(roles, ",")))
	w.must(err)
	long := strings.Repeat("M", 128)
	tall, err := w.oned.For("alice").AllocateDocument(t.Context(), spec.DocumentTypeService, "\u202e"+long[3:], fmt.Appendf(nil, `{"name":%q,"state":2,"roles":[{"name":%q,"type":"vm","cardinality":1,"template_id":0,"state":2,"nodes":[{"deploy_id":1}]}]}`, long, long))
	w.must(err)
	b.visit(fmt.Sprintf("#/service/%d", tall))
	b.shows("#roles", long)
	b.shows("#service-title", "\ufffd"+long[3:]) // does not turn round what stands behind it
	var over int
	b.do(chromedp.Evaluate("document.documentElement.scrollWidth - innerWidth", &over))
	if over > 0 {
		t.Errorf("a long name makes the page %d pixels too wide", over)
	}
	b.visit("#/services?offset=100000")
	b.shows("#pages", "to 2003 of 2003")
	_, err = w.oned.For("alice").AllocateDocument(t.Context(), spec.DocumentTypeServiceTemplate, "wide", fmt.Appendf(nil, `{"name":"wide","roles":[%s]}`, strings.Join(roles, ",")))
	w.must(err)
	b.visit("#/templates")
	b.shows("#templates", "and 292 more")
	b.visit(fmt.Sprintf("#/service/%d", id))
	b.shows("#graph", "300 roles")
	b.press("#roles", "Show 50 more of 250 roles")
	b.shows("#roles", "more of 200 roles")
	b.checkClean()
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
