package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFileSize bounds a configuration file, in bytes.
const maxFileSize = 1 << 20

// readFile takes what the YAML file says, and names each key that does not
// exist and each value of the wrong form with its line.
func (l *layers) readFile(path string) problems {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return problems{{what: fmt.Sprintf("the configuration file %s does not exist: create it or omit --config", path)}}
	}
	if err != nil {
		return problems{{what: fmt.Sprintf("read the configuration file: %v: run as a user who may, or set another with --config", err)}}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil || len(text) > maxFileSize {
		return problems{{what: fmt.Sprintf("read the configuration file %s: it is not a regular file of at most %d bytes", path, maxFileSize)}}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return problems{{where: path, what: strings.TrimPrefix(err.Error(), "yaml: ") + ": it must be YAML, indented with spaces, not tabs"}}
	}
	if len(document.Content) == 0 {
		return nil // an empty file sets nothing
	}
	reader := fileReader{layers: l, name: filepath.Base(path), set: map[string]int{}}
	reader.mapping(document.Content[0], "")
	return reader.found
}

// fileReader walks through a file's nodes.
type fileReader struct {
	layers *layers
	name   string
	set    map[string]int // key -> the line where it was set
	found  problems
}

func (r *fileReader) complain(node *yaml.Node, format string, arguments ...any) {
	r.found = append(r.found, problem{fmt.Sprintf("%s:%d", r.name, node.Line), fmt.Sprintf(format, arguments...)})
}

func (r *fileReader) mapping(node *yaml.Node, prefix string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		r.complain(node, "%s must be a mapping of keys to values, as in docs/configuration.md", section(prefix))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		r.entry(node.Content[i], node.Content[i+1], prefix+node.Content[i].Value)
	}
}

func section(prefix string) string {
	if prefix == "" {
		return "a configuration file"
	}
	return strings.TrimSuffix(prefix, ".")
}

func (r *fileReader) entry(key, value *yaml.Node, name string) {
	if o, known := optionOf(name); known {
		r.option(o, key, value)
		return
	}
	if isSection(name) {
		if value.Tag != "!!null" { // a section without keys sets nothing
			r.mapping(value, name+".")
		}
		return
	}
	if refusal := formerKey(name); refusal != "" {
		r.complain(key, "%s", refusal)
		return
	}
	if secret(name) {
		r.complain(key, "%q looks like a secret, which is only read from a file: write it into a file that only one user can read, and set its path (one.auth_file, nats.nkey_file)", name)
		return
	}
	r.complain(key, "%q does not exist%s", name, suggestion(name, keys()))
}

// secret reports whether a key sounds like one.
func secret(name string) bool {
	for _, word := range []string{"password", "passwd", "secret", "token", "seed"} {
		if strings.Contains(strings.ToLower(name), word) {
			return true
		}
	}
	return false
}

func (r *fileReader) option(o option, key, value *yaml.Node) {
	if line, twice := r.set[o.key]; twice {
		r.complain(key, "%s is set a second time, after line %d: keep one of them", o.key, line)
		return
	}
	r.set[o.key] = key.Line
	text, ok := scalar(o.standard, value)
	if !ok {
		r.complain(value, "%s has keys or a list below it, but takes one value: %s", o.key, form(o.standard))
		return
	}
	parsed, complaint := parse(o.standard, text)
	if complaint != "" {
		r.complain(value, "%s %s", o.key, complaint)
		return
	}
	r.layers.set(o.key, parsed, fmt.Sprintf("%s:%d", r.name, value.Line))
}

// scalar is a value as text; a list, where one is taken, with commas.
func scalar(standard any, node *yaml.Node) (string, bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode {
		if node.Tag == "!!null" {
			return "", true
		}
		return node.Value, true
	}
	if _, list := standard.([]string); !list || node.Kind != yaml.SequenceNode {
		return "", false
	}
	parts := make([]string, len(node.Content))
	for i, part := range node.Content {
		if part.Kind != yaml.ScalarNode {
			return "", false
		}
		parts[i] = part.Value
	}
	return strings.Join(parts, ","), true
}

// parse reads a text as a value of the default's type, or says what is wrong
// with it.
func parse(standard any, text string) (any, string) {
	var value any
	var err error
	switch standard.(type) {
	case int:
		value, err = strconv.Atoi(text)
	case bool:
		value, err = strconv.ParseBool(text)
	case time.Duration:
		value, err = time.ParseDuration(text)
	case []string:
		list := []string(nil)
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		value = list
	default:
		value = text
	}
	if err != nil {
		return nil, fmt.Sprintf("is %q: it must be %s", text, form(standard))
	}
	return value, ""
}

// form says how values of the default's type are written.
func form(standard any) string {
	switch standard.(type) {
	case int:
		return "a whole number"
	case bool:
		return "true or false"
	case time.Duration:
		return "a duration such as 300ms, 30s or 5m"
	case []string:
		return "a list such as [a, b]"
	}
	return "a string"
}

func optionOf(key string) (option, bool) {
	for _, o := range options {
		if o.key == key {
			return o, true
		}
	}
	return option{}, false
}

func isSection(name string) bool {
	for _, o := range options {
		if strings.HasPrefix(o.key, name+".") {
			return true
		}
	}
	return false
}

// keys are all keys, and the sections that they stand in.
func keys() []string {
	var all []string
	for _, o := range options {
		name, _, nested := strings.Cut(o.key, ".")
		if nested && !slices.Contains(all, name) {
			all = append(all, name)
		}
		all = append(all, o.key)
	}
	return all
}
