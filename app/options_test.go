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
	run, look := pflag.NewFlagSet("run", pflag.ContinueOnError), pflag.NewFlagSet("look", pflag.ContinueOnError)
	AddRunFlags(run)
	AddReadFlags(look)
	for _, o := range options {
		if strings.Count(text, "--"+o.flag+" ") != 1 || !strings.Contains(text, "("+envName(o.flag)+")") && !strings.Contains(strings.Join(strings.Fields(text), " "), "("+envName(o.flag)+")") {
			t.Errorf("--%s or its variable is not listed once", o.flag)
		}
		if run.Lookup(o.flag) == nil || look.Lookup(o.flag) == nil {
			t.Errorf("a command does not take --%s", o.flag)
		}
	}
	for _, group := range []string{"all:\n", "api:\n", "nats:\n", "one:\n", "worker:\n", "webhooks:\n", "sim:\n", "bridge:\n", "status:\n", "log:\n"} {
		if !strings.Contains("\n"+text, "\n"+group) {
			t.Errorf("there is no group %q", group)
		}
	}
	for flag, shown := range map[string][2]bool{"data-dir": {true, true}, "nats-url": {true, true}, "sim": {true, false}, "nats-routes": {false, false}, "look-again": {false, false}} {
		if run.Lookup(flag).Hidden == shown[0] || look.Lookup(flag).Hidden == shown[1] {
			t.Errorf("--%s is shown by commands that run: %t, that look: %t", flag, !run.Lookup(flag).Hidden, !look.Lookup(flag).Hidden)
		}
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
