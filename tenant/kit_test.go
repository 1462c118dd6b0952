package tenant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asked is a request that the API was sent.
type asked struct {
	method, path, query, key, ifMatch string
	body                              map[string]any
}

func (a asked) String() string {
	text, _ := json.Marshal(a.body)
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", a.method, a.path, text))
}

// cloud is an HTTP server that answers as the API does, and a user who types commands.
type cloud struct {
	t   *testing.T
	url string
	// answers are by "GET /services"; one that is not there is 404.
	answers map[string]http.HandlerFunc
	// ask answers questions; nil for nobody who could be asked.
	ask func(question string, secret bool) (string, error)

	mutex    sync.Mutex
	requests []asked
}

func newCloud(t *testing.T, answers map[string]http.HandlerFunc) *cloud {
	t.Helper()
	c := &cloud{t: t, answers: answers}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/flowjet/v1")
	request := asked{method: r.Method, path: path, query: r.URL.RawQuery, key: r.Header.Get("Idempotency-Key"), ifMatch: r.Header.Get("If-Match")}
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &request.body) // most have none
	c.mutex.Lock()
	c.requests = append(c.requests, request)
	c.mutex.Unlock()
	if answer := c.answers[r.Method+" "+path]; answer != nil {
		answer(w, r)
		return
	}
	refusing(http.StatusNotFound, r.Method+" "+path+" is not there")(w, r)
}

// changes are the requests that were no reads.
func (c *cloud) changes() (all []asked) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, request := range c.requests {
		if request.method != http.MethodGet {
			all = append(all, request)
		}
	}
	return all
}

// types runs a command and returns what it wrote to both outputs, and how it ended.
func (c *cloud) types(line ...string) (out, notes string, err error) {
	c.t.Helper()
	return c.typesRaw(append([]string{line[0], line[1], "--endpoint", c.url, "--auth-file", c.file("auth", "alice:secret\n")}, line[2:]...)...)
}

// typesRaw is types without the flags that name the API and the credentials.
func (c *cloud) typesRaw(line ...string) (out, notes string, err error) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	err = c.root(&stdout, &stderr, line...).ExecuteContext(c.t.Context())
	return stdout.String(), stderr.String(), err
}

// root is the program that the user types a command of.
func (c *cloud) root(out, notes io.Writer, line ...string) *cobra.Command {
	ask := c.ask
	if ask == nil {
		ask = func(string, bool) (string, error) { return "", errNoTerminal }
	}
	services, templates := Commands(Environment{Ask: ask})
	root := &cobra.Command{Use: "flowjet", SilenceErrors: true, SilenceUsage: true}
	service, template := terminal.Group("service", "Services"), terminal.Group("template", "Templates")
	service.AddCommand(services...)
	template.AddCommand(templates...)
	root.AddCommand(service, template)
	root.SetOut(out)
	root.SetErr(notes)
	root.SetArgs(line)
	return root
}

// does runs a command that has to succeed.
func (c *cloud) does(line ...string) string {
	c.t.Helper()
	out, notes, err := c.types(line...)
	if err != nil {
		c.t.Errorf("%s: %v\n%s%s", strings.Join(line, " "), err, out, notes)
	}
	return out
}

// fails runs a command that has to end with a status and an error of one line that has the text.
func (c *cloud) fails(want terminal.Exit, text string, line ...string) {
	c.t.Helper()
	out, _, err := c.types(line...)
	if err == nil {
		c.t.Errorf("%s succeeds: %s", strings.Join(line, " "), out)
		return
	}
	if status, _ := terminal.ExitOf(err); status != want || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		c.t.Errorf("%s ends with %d and %q, want %d and one line with %q", strings.Join(line, " "), status, err, want, text)
	}
}

// file writes a file and returns its path.
func (c *cloud) file(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// answering is a handler that answers with JSON.
func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// refusing is a handler that refuses as the API does.
func refusing(status int, detail string) http.HandlerFunc {
	text, _ := json.Marshal(map[string]any{"status": status, "detail": detail})
	return answering(status, string(text))
}

// inTurn gives an answer after the other, and the last for good.
func inTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var mutex sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mutex.Unlock()
		answer(w, r)
	}
}

// events is a handler of the stream of events: it tells of these and stays open.
func events(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, ": hello\n\n")
		for i, line := range lines {
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, line)
		}
		_ = http.NewResponseController(w).Flush() // the client has gone
		<-r.Context().Done()
	}
}

// turned is the event of a service that has come to a state.
func turned(id int, before, after string) string {
	return fmt.Sprintf(`{"service":%d,"kind":"service","old":%q,"new":%q,"time":"2026-11-28T12:00:00Z"}`, id, before, after)
}

// row is a service as the API lists it.
func row(id int, name, owner, state string) string {
	return fmt.Sprintf(`{"id":%d,"name":%q,"owner":%q,"group":"users","state":%q,"role_count":1,"wanted":2,"running":2}`, id, name, owner, state)
}

// list is a page of services.
func list(rows ...string) http.HandlerFunc {
	return answering(http.StatusOK, fmt.Sprintf(`{"total":%d,"services":[%s]}`, len(rows), strings.Join(rows, ",")))
}
