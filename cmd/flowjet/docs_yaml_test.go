package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
)

var yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")

// TestConfigurationsOnPagesAreGood takes each piece of configuration on a page as
// a start would, but for files that only an installation has.
func TestConfigurationsOnPagesAreGood(t *testing.T) {
	found := 0
	for path, text := range pages(t) {
		if filepath.Base(path) == "webhooks.md" {
			continue // a file of its own
		}
		for _, match := range yamlBlock.FindAllStringSubmatch(text, -1) {
			if strings.Contains(match[2], "\nroles:") {
				continue // a service template
			}
			found++
			block := strings.ReplaceAll("\n"+match[2], "\n"+match[1], "\n")
			file := filepath.Join(t.TempDir(), "flowjet.yaml")
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			flags := pflag.NewFlagSet("page", pflag.ContinueOnError)
			app.AddFlags(flags)
			wrong, _ := app.CheckConfig(file, flags)
			for _, line := range wrong {
				if !strings.Contains(line, "which does not exist") {
					t.Errorf("%s shows a configuration with a fault: %s\n%s", path, line, block)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d configurations were found", found)
	}
}
