package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/migrate"
)

// whichVersions is a statement of versions, which has one place.
var whichVersions = regexp.MustCompile(`(?i)OpenNebula \d+(\.\d+)? (or|and) (newer|later)|support\w* OpenNebula \d`)

// TestSupportedVersions holds the one statement of supported versions against what
// migrate accepts and against the version of the clients and servers that were recorded.
func TestSupportedVersions(t *testing.T) {
	home := filepath.Join(root, "docs", "install.md")
	for path, text := range pages(t) {
		if found := whichVersions.FindString(text); found != "" && path != home {
			t.Errorf("%s states versions (%q): link to docs/install.md#supported-versions instead", path, found)
		}
	}
	_, statement, found := strings.Cut(pages(t)[home], "## Supported versions\n")
	statement, _, _ = strings.Cut(statement, "\n## ")
	if !found || !strings.Contains(statement, "| "+migrate.Tested+" | tested") || !strings.Contains(statement, "| before "+migrate.Oldest+" | refused") {
		t.Errorf("docs/install.md does not state what migrate accepts, %s tested and from %s on:\n%s", migrate.Tested, migrate.Oldest, statement)
	}
	recorded := map[string]int{}
	for _, exchange := range fixtures.Lines[struct {
		Headers map[string]string `json:"request_headers"`
	}](t, "clients.jsonl") {
		if version := regexp.MustCompile(`OpenNebula (\d+\.\d+)`).FindStringSubmatch(exchange.Headers["User-Agent"]); version != nil {
			recorded[version[1]]++
		}
	}
	if len(recorded) != 1 || recorded[migrate.Tested] == 0 {
		t.Errorf("what is called tested is %s, and the recordings are of %v", migrate.Tested, recorded)
	}
}
