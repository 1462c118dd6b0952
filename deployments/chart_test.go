package deployments

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newHelm builds helm from tools/helm, which takes minutes the first time.
func newHelm(t *testing.T) string {
	t.Helper()
	if os.Getenv("CI") != "true" && os.Getenv("FLOWJET_CHART") == "" {
		t.Skip("builds helm, which takes minutes: set FLOWJET_CHART=1 to have the chart rendered")
	}
	helm := filepath.Join(t.TempDir(), "helm")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=../tools/helm/go.mod", "-o", helm, "helm.sh/helm/v4/cmd/helm")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build helm: %v\n%s", err, said)
	}
	return helm
}

// TestChart lints the chart, renders it with and without users and TLS, and has
// the program check what each container is started with.
func TestChart(t *testing.T) {
	helm := newHelm(t)
	lint, err := exec.CommandContext(t.Context(), helm, "lint", "--strict", "helm/flowjet").CombinedOutput()
	if err != nil {
		t.Errorf("helm lint: %v\n%s", err, lint)
	}
	cases := map[string]struct {
		set   string
		kinds map[string]int
	}{
		"with users": {"nats.keysSecret=b", map[string]int{"Deployment": 3, "StatefulSet": 1, "Service": 2, "PodDisruptionBudget": 4, "NetworkPolicy": 1, "ConfigMap": 1, "Job": 1, "Pod": 1}},
		"with users and TLS": {
			"nats.tlsSecret=a,nats.keysSecret=b,api.tlsSecret=c,opennebula.hooks=tcp://one:2101,settings.FLOWJET_LOOK_AGAIN=20s",
			map[string]int{"Deployment": 3, "StatefulSet": 1, "ConfigMap": 1, "Job": 1},
		},
		"with other servers": {"nats.enabled=false,nats.url=nats://other:4222,nats.open=true", map[string]int{"Deployment": 3, "Service": 1}},
		"one server":         {"nats.replicas=1,nats.keysSecret=b", map[string]int{"StatefulSet": 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rendered, err := exec.CommandContext(t.Context(), helm, "template", "test", "helm/flowjet", "--set", c.set).Output()
			if err != nil {
				t.Fatal(err)
			}
			kinds := map[string]int{}
			for _, object := range documents(t, rendered) {
				kinds[fmt.Sprint(object["kind"])]++
				checkContainers(t, object)
			}
			for kind, count := range c.kinds {
				if kinds[kind] != count {
					t.Errorf("%d objects of kind %s, want %d", kinds[kind], kind, count)
				}
			}
		})
	}
	for refused, why := range map[string]string{
		"nats.replicas=1":                   "nats.keysSecret is to name a secret",
		"nats.replicas=3,nats.open=true":    "nats.keysSecret is to name a secret",
		"nats.tlsSecret=a,nats.open=true":   "nats.keysSecret is not: set both",
		"nats.enabled=false,nats.open=true": "nats.url names the NATS servers",
		"nats.replicas=2":                   "must be one of 1, 3, 5",
		"nats.replica=3":                    "'replica' not allowed",
		"wroker.replicas=2":                 "'wroker' not allowed",
		"worker.replicas=many":              "want integer",
		"image.registry=a/b":                "does not match pattern",
		"logLevel=loud":                     "must be one of 'debug'",
		"settings.COLOUR=blue":              "FLOWJET_",
		"opennebula.xmlrpc=oned:2633":       "https?://",
		"opennebula.hooks=one-1:2101":       "tcp://",
		"api.service.port=many":             "want integer",
	} {
		said, err := exec.CommandContext(t.Context(), helm, "template", "test", "helm/flowjet", "--set", refused).CombinedOutput()
		if err == nil || !strings.Contains(string(said), why) {
			t.Errorf("%s is answered with %v, want %q:\n%s", refused, err, why, said)
		}
	}
}

// checkContainers looks at what an object's pods run.
func checkContainers(t *testing.T, object map[string]any) {
	t.Helper()
	pod := at(object, "spec", "template", "spec")
	if object["kind"] == "Pod" {
		pod = at(object, "spec")
	}
	containers, _ := pod["containers"].([]any)
	for _, one := range containers {
		container := one.(map[string]any)
		arguments := []string{}
		for _, word := range container["args"].([]any) {
			arguments = append(arguments, fmt.Sprint(word))
		}
		variables := map[string]string{}
		given, _ := container["env"].([]any)
		for _, variable := range given {
			named := variable.(map[string]any)
			variables[fmt.Sprint(named["name"])] = fmt.Sprint(orName(named["value"]))
		}
		accepts(t, fmt.Sprint(at(object, "metadata")["name"]), variables, arguments)
		if security := at(container, "securityContext"); security["readOnlyRootFilesystem"] != true || at(pod, "securityContext")["runAsNonRoot"] != true {
			t.Errorf("%v runs with more rights than it needs", container["name"])
		}
		checkMounts(t, pod, container)
		if image := fmt.Sprint(container["image"]); !strings.HasPrefix(image, "ghcr.io/flowjet/flowjet:") {
			t.Errorf("%v runs the image %s, which names no registry", container["name"], image)
		}
		if object["kind"] == "Deployment" || object["kind"] == "StatefulSet" {
			checkProbes(t, container, variables["FLOWJET_STATUS_LISTEN"])
		}
	}
}

// checkProbes: a container is asked where its process answers, and not restarted because
// something else is away.
func checkProbes(t *testing.T, container map[string]any, listens string) {
	t.Helper()
	port := ""
	for _, one := range container["ports"].([]any) {
		if one := one.(map[string]any); one["name"] == "status" {
			port = fmt.Sprint(one["containerPort"])
		}
	}
	for probe, path := range map[string]string{"readinessProbe": "/health", "livenessProbe": "/health/live", "startupProbe": "/health/live"} {
		if asked := at(container, probe, "httpGet"); asked["path"] != path || asked["port"] != "status" || listens != "0.0.0.0:"+port {
			t.Errorf("the %s of %v asks %v, and the process listens on %q", probe, container["name"], asked, listens)
		}
	}
}

// checkMounts: what is mounted is a volume of the pod or a claim.
func checkMounts(t *testing.T, pod, container map[string]any) {
	t.Helper()
	volumes := map[any]bool{"data": true} // a claim, in the stateful set
	given, _ := pod["volumes"].([]any)
	for _, volume := range given {
		volumes[volume.(map[string]any)["name"]] = true
	}
	for _, mount := range container["volumeMounts"].([]any) {
		if name := mount.(map[string]any)["name"]; !volumes[name] {
			t.Errorf("%v mounts %v, which is no volume", container["name"], name)
		}
	}
}

// orName stands for a value that only the cluster knows.
func orName(value any) any {
	if value == nil {
		return "test-nats-0"
	}
	return value
}

func at(object map[string]any, path ...string) map[string]any {
	for _, key := range path {
		object, _ = object[key].(map[string]any)
	}
	return object
}

// selfSigned makes server.pem, server.key and ca.pem.
func selfSigned(t *testing.T, folder string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"server.pem": {Type: "CERTIFICATE", Bytes: signed}, "ca.pem": {Type: "CERTIFICATE", Bytes: signed}, "server.key": {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChartFindsTheAccounts: the path in its server.conf leads from one mount to
// the other.
func TestChartFindsTheAccounts(t *testing.T) {
	if text := read(t, "helm/flowjet/templates/nats.yaml"); !strings.Contains(text, "include ../nats/cluster.conf") ||
		!strings.Contains(text, "mountPath: /run/secrets/server,") || !strings.Contains(text, "mountPath: /run/secrets/nats,") {
		t.Error("the servers do not find cluster.conf beside their own file")
	}
}
