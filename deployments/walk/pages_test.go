package walk

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// step is a code block of a page: commands for a front-end or for each, or a file
// for each.
type step struct {
	// each front-end, or the one named; the first where the page names none.
	each     bool
	frontEnd string
	// inTurn is each with the step behind it before the next front-end.
	inTurn   bool
	commands []string
	// path and content of a file.
	path, content string
}

// section are the steps below a heading of a page.
type section struct {
	title string
	steps []step
	// rows are those of its tables.
	rows []string
}

var (
	whereComment = regexp.MustCompile(`^# on (each|front-end-\d)(, one after the other)?:$`)
	pathComment  = regexp.MustCompile(`^# (/\S+)$`)
)

// readPage takes the sh and yaml blocks of a page, by heading.
func readPage(t *testing.T, name string) map[string]section {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	must(t, err)
	sections := map[string]section{}
	var current section
	language := ""
	var block []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		opened, fence := strings.CutPrefix(line, "```")
		title, heading := strings.CutPrefix(line, "## ")
		switch {
		case fence && language == "":
			language, block = opened, nil
		case fence:
			if made, is := stepOf(language, block); is {
				current.steps = append(current.steps, made)
				sections[current.title] = current
			}
			language = ""
		case heading && language == "":
			current = section{title: title}
		case language == "" && strings.HasPrefix(line, "| "):
			current.rows = append(current.rows, line)
			sections[current.title] = current
		default:
			block = append(block, line)
		}
	}
	return sections
}

func stepOf(language string, block []string) (step, bool) {
	if len(block) == 0 || !slices.Contains([]string{"sh", "yaml", "haproxy"}, language) {
		return step{}, false
	}
	if language != "sh" {
		path := pathComment.FindStringSubmatch(block[0])
		if path == nil {
			return step{}, false
		}
		return step{each: true, path: path[1], content: strings.Join(block, "\n") + "\n"}, true
	}
	made := step{frontEnd: "front-end-1"}
	for _, line := range block {
		if where := whereComment.FindStringSubmatch(line); where != nil {
			made.each, made.frontEnd, made.inTurn = where[1] == "each", where[1], where[2] != ""
			continue
		}
		made.commands = append(made.commands, line)
	}
	return made, true
}

// guide follows pages on a site.
type guide struct {
	*site
	t *testing.T
	// instead of a command of the page; empty to leave it out.
	instead map[string]string
	// shows is what the output of a command must have, after what is done behind it.
	shows map[string][]string
	after map[string]func()
	// typed are the commands of pages that were run.
	typed map[string]bool
}

// follow does what the section says.
func (g *guide) follow(s section) {
	g.t.Helper()
	if len(s.steps) == 0 {
		g.t.Fatalf("the page has no section %q with commands", s.title)
	}
	for i, one := range s.steps {
		for _, m := range g.frontEnds {
			if one.each || one.frontEnd == m.name {
				g.take(one, m)
			}
			if one.inTurn {
				g.take(s.steps[i+1], g.frontEnds[0])
			}
		}
		for _, line := range one.commands {
			if done := g.after[line]; done != nil && one.each {
				done()
			}
		}
	}
}

func (g *guide) take(one step, m *machine) {
	g.t.Helper()
	if one.path != "" {
		content := strings.Replace(one.content, "name: front-end-1\n", "name: "+m.name+"\n", 1)
		must(g.t, os.WriteFile(m.root+one.path, []byte(content), 0o640)) // its owner and mode stay
		return
	}
	for _, line := range one.commands {
		g.typed[line] = true
		typed := line
		if other, replaced := g.instead[line]; replaced {
			typed = other
		}
		if typed == "" {
			continue
		}
		said := m.runs(typed)
		if done := g.after[line]; done != nil && !one.each {
			done()
		}
		for _, want := range g.shows[line] {
			if !strings.Contains(said, want) {
				g.t.Errorf("%s: %s does not show %q:\n%s", m.name, line, want, said)
			}
		}
	}
}
