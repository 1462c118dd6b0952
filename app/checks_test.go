package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What each option takes, and what it refuses with words that mend it.
func TestValuesOfOptions(t *testing.T) {
	t.Parallel()
	for flag, test := range map[string]struct {
		takes   []string
		refuses map[string]string
	}{
		"zone":                {[]string{"0", "100"}, map[string]string{"-1": "it must be 0 or more"}},
		"api-listen":          {[]string{"0.0.0.0:2474", "[::1]:2474", ":80", "host:0"}, map[string]string{"": "host:port", "2474": "host:port", "host:": "host:port", "host:http": "host:port", "host:65536": "host:port", "::1:80": "host:port"}},
		"api-action-number":   {[]string{"1", "500"}, map[string]string{"0": "it must be 1 or more", "-3": "it must be 1 or more"}},
		"api-action-period":   {[]string{"1s", "1h30m"}, map[string]string{"0s": "it must be 1s or more", "999ms": "it must be 1s or more", "-5m": "it must be 1s or more"}},
		"api-vm-link":         {[]string{"", "https://s.example.com/vm/{id}", "http://s/{id}?a=b"}, map[string]string{"https://s/vm": "with {id} in it", "ftp://s/{id}": "an http or https address", "{id}": "an http or https address", "https://%zz/{id}": "an http or https address"}},
		"nats-listen":         {[]string{"127.0.0.1:4222"}, map[string]string{"localhost": "host:port"}},
		"nats-url":            {[]string{"", "nats://a:4222", "a:4222", "tls://a:4222,tls://b:4222", "ws://a:80", "wss://a:443"}, map[string]string{"http://a:4222": "it must be nats://, tls://, ws:// or wss://host:port", "nats://": "://host:port", "nats://u:p@a:4222": "remove it and set a file", "nats://a:4222,nats://u@b:4222": "remove it and set a file"}},
		"nats-name":           {[]string{"front-end-1"}, map[string]string{"": "it must not be empty"}},
		"nats-cluster-listen": {[]string{"0.0.0.0:6222"}, map[string]string{"6222": "host:port"}},
		"nats-routes":         {[]string{"", "nats-route://a:6222", "tls://a:6222"}, map[string]string{"http://a:6222": "it must be nats://host:port", "nats://s:secret@a:6222": "remove it and set a file"}},
		"one-xmlrpc":          {[]string{"http://a:2633/RPC2", "https://a/RPC2,http://b:2633/RPC2"}, map[string]string{"a:2633": "it must be http:// or https://host:port", "tcp://a:2633": "it must be http:// or https://host:port", "http://one:pw@a:2633/RPC2": "remove it and set a file"}},
		"one-hooks":           {[]string{"", "tcp://a:2101,tcp://b:2101"}, map[string]string{"a:2101": "it must be tcp://host:port", "tcp://a:2101,udp://b:2101": "it must be tcp://host:port"}},
		"one-auth-file":       {[]string{"/var/lib/one/.one/oneflow_auth"}, map[string]string{"": "it must not be empty"}},
		"shutdown-action":     {[]string{"terminate", "terminate-hard"}, map[string]string{"terminat": "did you mean terminate?", "": "one of terminate, terminate-hard", "poweroff": "one of terminate, terminate-hard"}},
		"look-again":          {[]string{"1s", "5m"}, map[string]string{"10ms": "it must be 1s or more"}},
		"autoscaler-interval": {[]string{"1s", "90s"}, map[string]string{"0s": "it must be 1s or more"}},
		"deadlines":           {[]string{"", "pending=10m", "boot=5m,then=fail", "pending=90"}, map[string]string{"lunch=1h": `it has "lunch"`, "boot=long": "a duration such as boot=10m", "then=explode": "then"}},
		"sim-listen":          {[]string{"a:1,a:2,a:3", "a:1,a:2,a:3,b:1,b:2"}, map[string]string{"a:1": "it must name XML-RPC", "a:1,a:2,a:3,b:1": "it must name XML-RPC", "a:1,a:2,a": "host:port"}},
		"sim-time-percent":    {[]string{"1", "100"}, map[string]string{"0": "it must be 1 to 100", "101": "it must be 1 to 100"}},
		"status-listen":       {[]string{"", "127.0.0.1:2480"}, map[string]string{"2480": "host:port"}},
		"log-level":           {[]string{"debug", "info", "warn", "error"}, map[string]string{"WARN": "it must be one of", "": "it must be one of", "inf": "did you mean info?"}},
		"log-format":          {[]string{"auto", "text", "json", "journal"}, map[string]string{"xml": "it must be one of auto, text, json, journal"}},
	} {
		for _, value := range test.takes {
			more := []string{"--" + flag + "=" + value}
			if flag == "nats-routes" {
				more = append(more, "--nats-server-file", "cluster.conf")
			}
			if _, err := ReadConfig("", flagsOf(t, more...)); err != nil {
				t.Errorf("--%s=%s is refused: %v", flag, value, err)
			}
		}
		for value, want := range test.refuses {
			_, err := ReadConfig("", flagsOf(t, "--"+flag+"="+value))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "--"+flag+": ") {
				t.Errorf("--%s=%s: got %v, want %q", flag, value, err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), ":pw@") || strings.Contains(err.Error(), "u:p@")) {
				t.Errorf("--%s: a password is repeated: %v", flag, err)
			}
		}
	}
}

// Options that belong together are refused where they contradict each other, each at its own place.
func TestOptionsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags []string
		want  string
	}{
		"replicas of one server":      {[]string{"--nats-replicas", "3"}, "--nats-replicas: nats.replicas is 3, but the embedded server is not part of a cluster: set nats.url to the servers of one, or nats.routes to its other servers"},
		"replicas of others' servers": {[]string{"--nats-replicas", "3", "--nats-url", "nats://a:4222"}, ""},
		"replicas of routed servers":  {[]string{"--nats-replicas", "3", "--nats-routes", "nats://b:6222", "--nats-server-file", "cluster.conf"}, ""},
		"a cluster without users":     {[]string{"--nats-routes", "nats://b:6222"}, "nats.server_file is not set, and the servers of a cluster need the same users: set it to the cluster.conf that `flowjet nats keys` creates"},
		"a certificate alone":         {[]string{"--api-certificate-file", "a.pem"}, "api.certificate_file and api.key_file belong together: set both or none"},
		"a key alone":                 {[]string{"--api-key-file", "a.key"}, "--api-key-file: api.certificate_file and api.key_file belong together"},
		"both":                        {[]string{"--api-certificate-file", "a.pem", "--api-key-file", "a.key"}, ""},
		"no data folder":              {[]string{"--data-dir="}, "--data-dir: data_dir is empty: give a folder"},
		"no oned":                     {[]string{"--one-xmlrpc="}, "one.xmlrpc is empty: give at least one http://host:2633/RPC2"},
	} {
		_, err := ReadConfig("", flagsOf(t, test.flags...))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	_, err := ReadConfig("", flagsOf(t, "--nats-replicas", "3", "--api-key-file", "a.key", "--zone", "-1"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three faults are told in %q", err)
	}
}

// The check of files names what a start would not find, and doubts what everybody can read, once each and in a fixed order.
func TestFilesThatAreChecked(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte("x"), 0o600))
		must(t, os.Chmod(path, mode))
		return path
	}
	open, closed := file("open", 0o644), file("closed", 0o640)
	loop := filepath.Join(folder, "loop")
	must(t, os.Symlink(loop, loop))
	text := func(name, content string) string {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	key := text("unknown.yaml", "receiver: []\n")
	secret := text("secret.yaml", "receivers: [{name: ops, url: 'https://example.com/', secret_file: "+open+"}]\n")
	hooks := text("webhooks.yaml", "receivers: [{name: ops, url: 'https://example.com/'}]\n")
	for name, test := range map[string]struct {
		flags           []string
		wrong, doubtful []string
	}{
		"nothing is named":        {[]string{"--sim"}, nil, nil},
		"oned's file":             {[]string{"--one-auth-file", filepath.Join(folder, "no")}, []string{"--one-auth-file: one.auth_file is " + filepath.Join(folder, "no") + ", which does not exist: create it or set another file"}, nil},
		"not of a simulator":      {[]string{"--sim", "--one-auth-file", filepath.Join(folder, "no")}, nil, nil},
		"secrets of everybody":    {[]string{"--one-auth-file", open, "--nats-nkey-file", open, "--nats-certificate-file", open}, nil, []string{"--nats-certificate-file: nats.certificate_file: everybody", "--nats-nkey-file: nats.nkey_file: everybody", "--one-auth-file: one.auth_file: everybody on this host can read " + open + ": chmod o= it"}},
		"secrets of a group":      {[]string{"--one-auth-file", closed, "--nats-nkey-file", closed}, nil, nil},
		"no secret":               {[]string{"--sim", "--nats-ca-file", open, "--api-certificate-file", open, "--api-key-file", closed}, nil, nil},
		"a folder":                {[]string{"--sim", "--nats-server-file", folder}, []string{"nats.server_file is " + folder + ", which is a folder: set a file"}, nil},
		"a link to itself":        {[]string{"--sim", "--webhooks-file", loop}, []string{"webhooks.file is " + loop + ", which cannot be used: "}, nil},
		"webhooks of a worker":    {[]string{"--sim", "--webhooks-file", hooks}, nil, nil},
		"an unknown key":          {[]string{"--sim", "--webhooks-file", key}, []string{"--webhooks-file: read the webhooks file " + key + ": "}, nil},
		"a receiver's secret":     {[]string{"--sim", "--webhooks-file", secret}, []string{"--webhooks-file: the webhooks file " + secret + ": receivers[0]: ops: the secret " + open + " has 1 bytes"}, nil},
		"several":                 {[]string{"--sim", "--webhooks-file", "/no/w", "--nats-ca-file", "/no/c"}, []string{"--nats-ca-file: ", "--webhooks-file: "}, nil},
		"no file for any role":    {[]string{"--sim", "--nats-nkey-file", filepath.Join(folder, "{role}.nk")}, []string{"{role}.nk, which does not exist"}, nil},
		"metrics for this host":   {[]string{"--sim", "--status-listen", "localhost:2480"}, nil, nil},
		"metrics for IPv6's host": {[]string{"--sim", "--status-listen", "[::1]:2480"}, nil, nil},
		"metrics for everybody":   {[]string{"--sim", "--status-listen", ":2480"}, nil, []string{"status.listen is :2480: it is accessible without a password"}},
		"metrics on a name":       {[]string{"--sim", "--status-listen", "fe-1:2480"}, nil, []string{"status.listen is fe-1:2480: it is accessible"}},
	} {
		wrong, doubtful := CheckConfig("", flagsOf(t, test.flags...))
		for what, pair := range map[string][2][]string{"wrong": {wrong, test.wrong}, "doubtful": {doubtful, test.doubtful}} {
			got, want := pair[0], pair[1]
			if len(got) != len(want) {
				t.Errorf("%s: %s is %q, want %q", name, what, got, want)
				continue
			}
			for i := range want {
				if !strings.Contains(got[i], want[i]) {
					t.Errorf("%s: %s is %q, want %q", name, what, got, want)
				}
			}
		}
	}
}

// A value that is set and good arrives as what it is, from each of the three places.
func TestAValueFromEachPlace(t *testing.T) {
	const text = "bridge:\n  events: [vm, net]\nworker:\n  look_again: 40s\nnats:\n  provision: false\napi:\n  action_number: 4\ndata_dir: /from/file\n"
	same := func(config Config) bool {
		return strings.Join(config.Bridge.Events, " ") == "vm net" && config.Worker.CheckInterval == 40*time.Second && !config.NATS.Provision && config.API.ActionNumber == 4
	}
	config, err := ReadConfig(write(t, "flowjet.yaml", text), flagsOf(t))
	if err != nil || !same(config) || config.DataDir != "/from/file" {
		t.Errorf("from the file: %+v, %v", config, err)
	}
	if origin := config.origins["worker.look_again"]; origin != "flowjet.yaml:4" {
		t.Errorf("look_again was set at %s", origin)
	}
	config, err = ReadConfig("", flagsOf(t, "--bridge-events", "vm,net", "--look-again", "40s", "--nats-provision=false", "--api-action-number", "4"))
	if err != nil || !same(config) || config.origins["worker.look_again"] != "--look-again" {
		t.Errorf("from flags: %+v, %v", config, err)
	}
	for name, value := range map[string]string{"BRIDGE_EVENTS": "vm, net,", "LOOK_AGAIN": "40s", "NATS_PROVISION": "false", "API_ACTION_NUMBER": "4"} {
		t.Setenv("FLOWJET_"+name, value)
	}
	config, err = ReadConfig("", flagsOf(t))
	if err != nil || !same(config) || config.origins["worker.look_again"] != "FLOWJET_LOOK_AGAIN" {
		t.Errorf("from variables: %+v, %v", config, err)
	}
}
