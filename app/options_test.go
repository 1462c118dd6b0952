package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The help topic lists each option once, with its variable, in lines that fit; the help of a command shows the few that most need, and
// takes them all.
func TestHelpOfOptions(t *testing.T) {
	t.Parallel()
	const width = 100
	text := DescribeOptions(width)
	for line := range strings.Lines(text) {
		if len([]rune(line)) > width+15 { // a name that cannot be broken
			t.Errorf("a line has %d characters: %s", len(line), line)
		}
	}
	run, look, server := pflag.NewFlagSet("run", pflag.ContinueOnError), pflag.NewFlagSet("look", pflag.ContinueOnError), pflag.NewFlagSet("server", pflag.ContinueOnError)
	AddRunFlags(run, "worker")
	AddRunFlags(server, "nats")
	AddReadFlags(look)
	for _, o := range options {
		if strings.Count(text, "--"+o.flag+" ") != 1 || !strings.Contains(text, "("+envName(o.flag)+")") && !strings.Contains(strings.Join(strings.Fields(text), " "), "("+envName(o.flag)+")") {
			t.Errorf("--%s or its variable is not listed once", o.flag)
		}
		if run.Lookup(o.flag) == nil || server.Lookup(o.flag) == nil || look.Lookup(o.flag) == nil {
			t.Errorf("a command does not take --%s", o.flag)
		}
	}
	for _, group := range []string{"all:\n", "api:\n", "nats:\n", "one:\n", "worker:\n", "webhooks:\n", "sim:\n", "bridge:\n", "status:\n", "log:\n"} {
		if !strings.Contains("\n"+text, "\n"+group) {
			t.Errorf("there is no group %q", group)
		}
	}
	for _, flag := range []string{"config-dir", "nats-cluster"} {
		if strings.Contains(text, "--"+flag+" ") {
			t.Errorf("--%s is listed", flag)
		}
	}
	for flag, shown := range map[string][3]bool{
		"data-dir": {true, true, true}, "nats-url": {true, true, false}, "sim": {true, false, false}, "nats-routes": {false, false, true}, "look-again": {false, false, false},
	} {
		if got := [3]bool{!run.Lookup(flag).Hidden, !look.Lookup(flag).Hidden, !server.Lookup(flag).Hidden}; got != shown {
			t.Errorf("--%s is shown by commands that run, that look, and by the NATS server: %v, want %v", flag, got, shown)
		}
	}
}

// An option of an earlier version is refused wherever it is set, with what holds instead, and is not taken for a misspelling.
func TestOptionsOfEarlierVersions(t *testing.T) {
	for _, o := range formerOptions {
		section, name, nested := strings.Cut(o.key, ".")
		if !nested || o.instead == "" {
			t.Fatalf("%s has no section, or nothing instead", o.key)
		}
		_, err := ReadConfig(write(t, "flowjet.yaml", "zone: 0\n"+section+":\n  "+name+": 1\n"), flagsOf(t))
		if want := "flowjet.yaml:3: " + o.key + " can no longer be set: " + o.instead + "; remove it"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
		if want := "--" + o.flag + " can no longer be set: " + o.instead + "; remove it"; Former(o.flag) != want {
			t.Errorf("--%s: %q, want %q", o.flag, Former(o.flag), want)
		}
		t.Run(o.flag, func(t *testing.T) {
			t.Setenv(envName(o.flag), "1")
			_, err := ReadConfig("", flagsOf(t))
			if want := envName(o.flag) + ": " + envName(o.flag) + " can no longer be set: "; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if unknown := UnknownVariables(); len(unknown) > 0 {
				t.Errorf("it is told of twice: %q", unknown)
			}
		})
	}
	if Former("data-dir") != "" || Former("nonsense") != "" {
		t.Error("an option that can be set, or none, is refused")
	}
}

// The cluster's name was an option; the servers that are routed have one without it.
func TestTheNameOfAClusterIsNoOption(t *testing.T) {
	t.Parallel()
	_, err := ReadConfig(write(t, "nats.yaml", "nats:\n  name: fe-1\n  cluster: flowjet\n  routes: [nats://fe-2:6222]\n  server_file: server.conf\n"), flagsOf(t))
	if err == nil || !strings.Contains(err.Error(), "nats.yaml:3: nats.cluster can no longer be set: a server with nats.routes is in the cluster flowjet") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	config, err := ReadConfig(write(t, "nats.yaml", "nats:\n  name: fe-1\n  routes: [nats://fe-2:6222]\n  server_file: server.conf\n"), flagsOf(t))
	if err != nil || len(config.NATS.Routes) != 1 {
		t.Errorf("%+v, %v", config.NATS, err)
	}
}

func TestWordsThatWerePerhapsMeant(t *testing.T) {
	t.Parallel()
	known := []string{"api", "api.listen", "nats.listen", "nats.url", "worker.look_again", "zone"}
	for given, want := range map[string]string{
		"api.listn": "api.listen", "nats.ulr": "nats.url", "look_again": "worker.look_again", "listen": "api.listen", "zoen": "zone",
		"colour_of_the_sky": "",
	} {
		if got := Nearest(given, known); got != want {
			t.Errorf("%q may mean %q, want %q", given, got, want)
		}
	}
	if got := suggestion("zoen", known); got != "; did you mean zone?" {
		t.Errorf("it suggests %q", got)
	}
	if got := suggestion("colour_of_the_sky", known); got != "; `flowjet help options` lists all options" {
		t.Errorf("of nothing like it it says %q", got)
	}
}

// What is wrong with a flag's value is told as for a key of the file, without the words of Go's parsers.
func TestErrorsOfFlags(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--zone=first":           `--zone is "first": it must be a whole number`,
		"--look-again=soon":      `--look-again is "soon": it must be a duration such as 300ms, 30s or 5m`,
		"--nats-provision=maybe": `--nats-provision is "maybe": it must be true or false`,
	} {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlags(flags)
		err := FlagError(flags.Parse([]string{line}))
		if err == nil || err.Error() != want || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	other := errors.New("something else")
	if got := FlagError(other); got != other { //nolint:errorlint // it has to be the same one
		t.Errorf("another error becomes %v", got)
	}
	var bad *pflag.InvalidValueError
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Int("of-another", 1, "")
	if err := flags.Parse([]string{"--of-another=x"}); !errors.As(err, &bad) || FlagError(err) != err { //nolint:errorlint // the same one
		t.Errorf("a flag that is no option: %v", err)
	}
}
