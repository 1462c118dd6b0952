package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

const root = "../.."

// pages are those at the root and everything under docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[path] = string(text)
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} {
		read(filepath.Join(root, name))
	}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for path, text := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, match[1])
			}
		}
	}
}

// TestIndexOfDecisionsHasTheirTitles holds docs/adr/README.md against the pages.
func TestIndexOfDecisionsHasTheirTitles(t *testing.T) {
	all := pages(t)
	folder := filepath.Join(root, "docs", "adr")
	index := all[filepath.Join(folder, "README.md")]
	for path, text := range all {
		if filepath.Dir(path) != folder || filepath.Base(path) == "README.md" {
			continue
		}
		heading, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		number, title, _ := strings.Cut(heading, ". ")
		if line := "- [" + number + "](" + filepath.Base(path) + ") " + title + "\n"; !strings.Contains(index, line) {
			t.Errorf("docs/adr/README.md does not have the line %q", line)
		}
	}
}

var (
	makeMentioned = regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	makeTarget    = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

func TestPagesNameMakeTargetsThatExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, match := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, match[1])
	}
	for path, text := range pages(t) {
		for _, match := range makeMentioned.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(targets, match[1]) {
				t.Errorf("%s names `make %s`, which the Makefile does not have", path, match[1])
			}
		}
	}
}

var commandLine = regexp.MustCompile("(?m)(?:^|`)(?:bin/)?flowjet ([a-z]+)([^`\n]*)")

func TestPagesNameCommandsAndFlagsThatExist(t *testing.T) {
	root := newRoot()
	root.InitDefaultHelpCmd() // cobra adds these two when it runs
	root.InitDefaultCompletionCmd()
	for path, text := range pages(t) {
		for _, match := range commandLine.FindAllStringSubmatch(text, -1) {
			words := append([]string{match[1]}, strings.Fields(match[2])...)
			command, _, err := root.Find(words)
			if err != nil || !command.HasParent() {
				t.Errorf("%s names `flowjet %s`, which does not exist", path, match[1])
				continue
			}
			for _, word := range words {
				name, isFlag := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(name, "=")
				if isFlag && command.Flags().Lookup(name) == nil && command.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s gives `%s` the flag --%s, which it does not have", path, command.CommandPath(), name)
				}
			}
		}
	}
}

// TestReadmeShowsTheDemo holds the demo's output in README.md against the
// demo: the same steps, and each line of the timeline. Times, ids and what
// caused a step differ from run to run.
func TestReadmeShowsTheDemo(t *testing.T) {
	readme := pages(t)[filepath.Join(root, "README.md")]
	c := newCloud(t)
	c.up(t)
	demo := c.demo(t)
	if demo.err != nil {
		t.Fatalf("the demo failed: %v\n%s", demo.err, demo.output.String())
	}
	shown, printed := demoLines(readme), demoLines(demo.output.String())
	for line := range printed {
		if strings.HasPrefix(line, "step ") && !shown[line] {
			t.Errorf("README.md does not show the demo's %q", line)
		}
	}
	for line := range shown {
		if !printed[line] {
			t.Errorf("README.md shows %q, which the demo does not print:\n%s", line, demo.output.String())
		}
	}
	if len(shown) == 0 {
		t.Error("README.md does not show the demo's output")
	}
}

var (
	stepLine     = regexp.MustCompile(`(?m)^(\d/\d .*\S) +\d+ ms$`)
	timelineLine = regexp.MustCompile(`(?m)^ +\d+\.\d  (.*\S) +\[[^]]+\]$`)
	number       = regexp.MustCompile(`VM \d+`)
)

// demoLines are the steps and the lines of the timeline in a text, without what
// differs from run to run.
func demoLines(text string) map[string]bool {
	lines := map[string]bool{}
	for _, match := range stepLine.FindAllStringSubmatch(text, -1) {
		lines["step "+match[1]] = true
	}
	for _, match := range timelineLine.FindAllStringSubmatch(text, -1) {
		lines[number.ReplaceAllString(match[1], "VM N")] = true
	}
	return lines
}

// TestInspectPageExplainsEveryName holds the page against the messages, headers,
// streams and buckets.
func TestInspectPageExplainsEveryName(t *testing.T) {
	page := pages(t)[filepath.Join(root, "docs", "inspect.md")]
	_, page, _ = strings.Cut(page, "## Every subject")
	wanted := []string{
		pipeline.StreamONE, pipeline.StreamWork, pipeline.StreamFlow, pipeline.StreamDead, pipeline.StreamHook,
		pipeline.BucketState, pipeline.BucketCheckpoint, pipeline.BucketOwners, pipeline.BucketCommands, pipeline.BucketHooks,
		pipeline.HeaderReplyTo, pipeline.HeaderFeed, pipeline.HeaderResync, pipeline.HeaderNonce, pipeline.HeaderReason, pipeline.HeaderOrigin, pipeline.HeaderWebhooks,
	}
	for _, message := range []any{
		pipeline.Event{}, pipeline.Work{}, pipeline.Timer{}, pipeline.Cause{}, pipeline.Transition{}, flow.Change{}, flow.Command{}, one.VM{},
		pipeline.Reply{}, pipeline.CommandStatus{}, pipeline.Record{}, pipeline.TimerState{}, pipeline.Outbox{}, pipeline.Lease{}, pipeline.FeedBeat{},
		pipeline.Delivery{}, pipeline.Attempts{}, spec.Webhook{},
	} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(message)) {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
				wanted = append(wanted, "`"+name+"`")
			}
		}
	}
	for _, name := range wanted {
		if !strings.Contains(page, name) {
			t.Errorf("docs/inspect.md does not explain %s", name)
		}
	}
}
