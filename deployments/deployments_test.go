// Package deployments holds what Flowjet is installed with. Its tests hold the
// files against the program: every command, flag and port in them.
package deployments

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/app"
)

// flowjet is the program, built once.
var flowjet string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "deployments")
	if err != nil {
		panic(err)
	}
	flowjet = filepath.Join(folder, "flowjet")
	build := exec.Command("go", "build", "-o", flowjet, "../cmd/flowjet")
	build.Stderr = os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	os.RemoveAll(folder)
	os.Exit(code)
}

// accepts has the program check what a deployment starts it with. Files that
// only the deployment has are left out.
func accepts(t *testing.T, what string, variables map[string]string, arguments []string) {
	t.Helper()
	if help := exec.CommandContext(t.Context(), flowjet, arguments[0], "--help"); help.Run() != nil {
		t.Errorf("%s: there is no command `flowjet %s`", what, arguments[0])
		return
	}
	flags := slices.DeleteFunc(slices.Clone(arguments[1:]), func(word string) bool { return word == "provision" })
	check := exec.CommandContext(t.Context(), flowjet, append([]string{"config", "check"}, flags...)...)
	check.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range variables {
		check.Env = append(check.Env, name+"="+value)
	}
	said, _ := check.CombinedOutput()
	for line := range strings.Lines(string(said)) {
		missing := strings.Contains(line, ", which does not exist")
		if strings.HasPrefix(line, "wrong:") && !missing || strings.HasPrefix(line, "flowjet:") && !strings.Contains(line, "the configuration cannot be used") ||
			strings.Contains(line, "no option has this environment variable") {
			t.Errorf("%s: flowjet %s says %s", what, strings.Join(arguments, " "), line)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var startLine = regexp.MustCompile(`(?m)^ExecStart=/usr/bin/flowjet (.*)$`)

func TestUnits(t *testing.T) {
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) != 5 {
		t.Fatalf("units: %v %v", units, err)
	}
	for _, unit := range units {
		text := read(t, unit)
		start := startLine.FindStringSubmatch(text)
		if start == nil {
			t.Errorf("%s starts nothing", unit)
			continue
		}
		arguments := strings.Fields(start[1])
		for i, word := range arguments {
			arguments[i] = strings.ReplaceAll(word, "/etc/flowjet/", "package/")
		}
		accepts(t, unit, nil, arguments)
		if strings.Contains(start[1], "${CREDENTIALS_DIRECTORY}") != strings.Contains(text, "LoadCredential=oneflow_auth:") {
			t.Errorf("%s: the credentials are not those that it loads", unit)
		}
		if !strings.Contains(text, "\nLimitCORE=0\n") {
			t.Errorf("%s: a core file would hold passwords and keys", unit)
		}
	}
}

// TestUnitsStandSystemdsOwnChecks: the exposure is at most 1.5 of 10, and nothing
// in them is unknown.
func TestUnitsStandSystemdsOwnChecks(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("systemd-analyze is missing")
		}
		t.Skip("there is no systemd-analyze here: .ci/run installs it")
	}
	units, err := filepath.Glob("systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, unit := range units {
		copied := filepath.Join(folder, filepath.Base(unit))
		text := strings.ReplaceAll(read(t, unit), "/usr/bin/flowjet", flowjet)
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, arguments := range [][]string{{"verify", "--man=no", copied}, {"security", "--offline=true", "--threshold=15", copied}} {
			said, err := exec.CommandContext(t.Context(), "systemd-analyze", arguments...).CombinedOutput()
			if err != nil || (arguments[0] == "verify" && strings.Contains(string(said), filepath.Base(unit))) {
				t.Errorf("systemd-analyze %s %s: %v\n%s", arguments[0], unit, err, said)
			}
		}
	}
}

// service is what is looked at of a compose file.
type service struct {
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   map[string]any    `yaml:"depends_on"`
}

func TestComposeFile(t *testing.T) {
	var file struct {
		Services map[string]service `yaml:"services"`
		Volumes  map[string]any     `yaml:"volumes"`
	}
	text := read(t, "container/compose.yaml")
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	parts := map[string]int{}
	for name, one := range file.Services {
		parts[one.Command[0]]++
		if name != "keys" { // which reads no configuration
			accepts(t, name, one.Environment, one.Command)
		}
		for other := range one.DependsOn {
			if _, known := file.Services[other]; !known {
				t.Errorf("%s depends on %s, which does not exist", name, other)
			}
		}
		for _, volume := range one.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); file.Volumes[source] == nil {
				t.Errorf("%s mounts %s, which does not exist", name, source)
			}
		}
		for _, port := range one.Ports {
			inside := port[strings.LastIndexByte(port, ':'):]
			if !strings.HasPrefix(port, "127.0.0.1:") || !slices.ContainsFunc(strings.Split(strings.Join(one.Command, ","), ","), func(word string) bool { return strings.HasSuffix(word, inside) }) {
				t.Errorf("%s publishes %s, and its command listens nowhere there", name, port)
			}
		}
	}
	for part, count := range map[string]int{"sim": 1, "nats": 5, "bridge": 3, "worker": 3, "api": 3} {
		if parts[part] != count {
			t.Errorf("there are %d of %s, want %d", parts[part], part, count)
		}
	}
	for host := range namedHosts(text) {
		if _, known := file.Services[host]; !known {
			t.Errorf("the file names the host %s, which is no service of it", host)
		}
	}
}

var addressed = regexp.MustCompile(`(?:nats|tcp|http)://([a-z][a-z0-9-]*):\d+`)

// namedHosts are the hosts in addresses, but for those in comments.
func namedHosts(text string) map[string]bool {
	hosts := map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, match := range addressed.FindAllStringSubmatch(line, -1) {
			hosts[match[1]] = true
		}
	}
	return hosts
}

func TestContainerRunsTheProgram(t *testing.T) {
	text := read(t, "container/Containerfile")
	var command []string
	if _, line, found := strings.Cut(text, "\nCMD "); !found || json.Unmarshal([]byte(line), &command) != nil {
		t.Fatal("the Containerfile has no CMD")
	}
	accepts(t, "Containerfile", nil, command)
	// Docker publishes a port to the container's own address, never to its loopback.
	if line := strings.Join(command, " "); command[0] != "up" || !strings.Contains(line, "--api-listen 0.0.0.0:2474") || strings.Contains(line, "--nats-listen") {
		t.Errorf("the container's command is %s", line)
	}
	for _, want := range []string{"USER 65532:65532", `ENTRYPOINT ["/usr/bin/flowjet"]`, "./cmd/flowjet"} {
		if !strings.Contains(text, want) {
			t.Errorf("the Containerfile does not say %s", want)
		}
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "../cmd/flowjet")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := list.CombinedOutput(); err != nil {
		t.Errorf("without cgo, as in the container: %v\n%s", err, said)
	}
}

// TestServerFiles has nats-server itself read them, with keys of the test's own.
func TestServerFiles(t *testing.T) {
	folder := t.TempDir()
	if err := app.MakeKeys(folder); err != nil {
		t.Fatal(err)
	}
	selfSigned(t, folder)
	for _, name := range []string{"server.conf", "nats-server.conf"} {
		text := strings.ReplaceAll(read(t, filepath.Join("nats", name)), "/etc/flowjet/nats", folder)
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := server.ProcessConfigFile(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if options.TLSConfig == nil || options.Cluster.TLSConfig == nil || len(options.Accounts) != 3 || len(options.Nkeys) != 7 {
			t.Errorf("%s lacks TLS, accounts or users: %d accounts, %d users", name, len(options.Accounts), len(options.Nkeys))
		}
		if name == "nats-server.conf" && (!options.JetStream || !options.SyncAlways || len(options.Routes) != 3) {
			t.Errorf("%s is no server of a cluster with JetStream", name)
		}
	}
}

// documents are the YAML documents in a text.
func documents(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var one map[string]any
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if one != nil {
			all = append(all, one)
		}
	}
}
