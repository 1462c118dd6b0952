package app

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// configurationPage documents every option.
const configurationPage = "../docs/configuration.md"

// The generated table stands between these lines of the page.
const (
	tableBegin = "<!-- options: begin -->\n"
	tableEnd   = "<!-- options: end -->\n"
)

var update = flag.Bool("update", false, "write the options into docs/configuration.md")

// TestConfigurationPageNamesEveryOption holds docs/configuration.md against the
// options. `go test ./app -run TestConfigurationPage -update` mends the page.
func TestConfigurationPageNamesEveryOption(t *testing.T) {
	text, err := os.ReadFile(configurationPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), tableBegin)
	found, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no lines %q and %q", configurationPage, tableBegin, tableEnd)
	}
	table := optionTable()
	switch {
	case found == table:
	case *update:
		if err := os.WriteFile(configurationPage, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s differs from the options: `go test ./app -run TestConfigurationPage -update` mends it; it should say\n%s",
			configurationPage, table)
	}
}

// TestEveryOptionHasOneFlagAndOneKey: a second one would silently win. Each has a reason, and none
// is refused as a former one.
func TestEveryOptionHasOneFlagAndOneKey(t *testing.T) {
	flags, keys := map[string]bool{}, map[string]bool{}
	for _, o := range options {
		if flags[o.flag] || keys[o.key] {
			t.Errorf("the flag %q or the key %q is there twice", o.flag, o.key)
		}
		flags[o.flag], keys[o.key] = true, true
		if o.reason == "" {
			t.Errorf("--%s has no reason to be set", o.flag)
		}
		if Former(o.flag) != "" || Former(o.key) != "" {
			t.Errorf("--%s can be set and is refused", o.flag)
		}
	}
}

func optionTable() string {
	var table strings.Builder
	table.WriteString("| flag | variable | key in the file | default | what it is | set it if |\n|---|---|---|---|---|---|\n")
	for _, o := range options {
		fmt.Fprintf(&table, "| `--%s` | `%s` | `%s` | %s | %s | %s |\n", o.flag, envName(o.flag), o.key, shown(o.standard), o.usage, o.reason)
	}
	return table.String()
}

// shown is a default as the page shows it.
func shown(standard any) string {
	text := fmt.Sprint(standard)
	switch value := standard.(type) {
	case []string:
		text = strings.Join(value, ",")
	case time.Duration:
		if text = value.String(); strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
	}
	if text == "" {
		return "none"
	}
	return "`" + text + "`"
}
