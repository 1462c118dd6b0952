package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/internal/yamlfile"
)

// ReadConfig reads the configuration: defaults, the file at path if given, FLOWJET_… variables, and the flags that were
// set. The error names everything that is wrong, a line each, with the line of the file and what mends it.
func ReadConfig(path string, flags *pflag.FlagSet) (Config, error) {
	config, found := read(path, flags)
	if len(found) > 0 {
		return config, errors.New(strings.Join(found, "\n"))
	}
	return config, nil
}

// CheckConfig is ReadConfig for a check beforehand: it also checks the named files, and finds doubtful settings.
func CheckConfig(path string, flags *pflag.FlagSet) (wrong, doubtful []string) {
	config, found := read(path, flags)
	return append(found, config.checkFiles()...), slices.Concat(UnknownVariables(), config.doubts(), config.unreadable(path, packagedUser))
}

// read sets the options by all sources, the stronger over the weaker.
func read(path string, flags *pflag.FlagSet) (Config, []string) {
	config := Config{origins: map[string]string{}}
	for _, o := range options {
		o.set(&config, o.standard, "the default")
	}
	var found []string
	if path != "" {
		found = append(found, readFile(&config, path)...)
	}
	found = append(found, readVariables(&config)...)
	for _, o := range options {
		given := flags.Lookup(o.flag)
		if given == nil || !given.Changed {
			continue
		}
		text := given.Value.String()
		if list, is := given.Value.(pflag.SliceValue); is {
			text = strings.Join(list.GetSlice(), ",")
		}
		value, _ := parse(o.standard, text) // its form was checked when the flag was parsed
		o.set(&config, value, "--"+o.flag)
	}
	for _, o := range options {
		value := o.value(&config)
		if complaint := o.complaint(value); complaint != "" {
			found = append(found, at(config.origins[o.key], fmt.Sprintf("%s is %s: %s", o.key, quoted(value), complaint)))
		}
	}
	return config, append(found, config.check()...)
}

// readVariables reads the FLOWJET_ variables, and refuses former options. Unknown variables are left alone.
func readVariables(config *Config) []string {
	var found []string
	for _, o := range options {
		text, is := os.LookupEnv(envName(o.flag))
		if !is {
			continue
		}
		value, complaint := parse(o.standard, text)
		if complaint != "" {
			found = append(found, at(envName(o.flag), complaint))
			continue
		}
		o.set(config, value, envName(o.flag))
	}
	for _, o := range formerOptions {
		if _, is := os.LookupEnv(envName(o.flag)); is {
			found = append(found, at(envName(o.flag), o.refusal(envName(o.flag))))
		}
	}
	return found
}

// fromKubernetes are the variables that Kubernetes sets for services whose names begin with flowjet.
var fromKubernetes = regexp.MustCompile(`^FLOWJET(_.*)?_(SERVICE_HOST|SERVICE_PORT|PORT)(_.*)?$`)

// UnknownVariables returns the FLOWJET_ variables that set nothing, a line each: most likely one is misspelt.
func UnknownVariables() []string {
	var names []string
	for _, o := range options {
		names = append(names, envName(o.flag))
	}
	var found []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		refused := slices.ContainsFunc(formerOptions, func(o formerOption) bool { return envName(o.flag) == name })
		if strings.HasPrefix(name, "FLOWJET_") && !slices.Contains(names, name) && !refused && !fromKubernetes.MatchString(name) {
			found = append(found, at(name, "no option has this environment variable"+suggestion(name, names)))
		}
	}
	return found
}

// maxFileSize bounds a configuration file, in bytes.
const maxFileSize = 1 << 20

// readFile reads the YAML file, and names each unknown key and each value of the wrong form with its line.
func readFile(config *Config, path string) []string {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return []string{fmt.Sprintf("the configuration file %s does not exist: create it or omit --config", path)}
	}
	if err != nil {
		return []string{fmt.Sprintf("read the configuration file: %v: run as a user who may, or set another with --config", err)}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil || len(text) > maxFileSize {
		return []string{fmt.Sprintf("read the configuration file %s: it is not a regular file of at most %d bytes", path, maxFileSize)}
	}
	var document yaml.Node
	if err := yamlfile.Read(text, &document, false); err != nil {
		reason, isYAML := strings.CutPrefix(err.Error(), "yaml: ")
		if isYAML {
			reason += ": it must be YAML, indented with spaces, not tabs"
		}
		return []string{at(path, reason)}
	}
	if len(document.Content) == 0 || document.Content[0].Tag == "!!null" {
		return nil // an empty file sets nothing
	}
	reader := fileReader{config: config, name: filepath.Base(path), set: map[string]int{}}
	reader.mapping(document.Content[0], "")
	return reader.found
}

type fileReader struct {
	config *Config
	name   string
	set    map[string]int // key -> the line where it was set
	found  []string
}

func (r *fileReader) complain(node *yaml.Node, format string, arguments ...any) {
	r.found = append(r.found, at(fmt.Sprintf("%s:%d", r.name, node.Line), fmt.Sprintf(format, arguments...)))
}

func (r *fileReader) mapping(node *yaml.Node, prefix string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		r.complain(node, "%s must be a mapping of keys to values, as in docs/configuration.md", cmp.Or(strings.TrimSuffix(prefix, "."), "a configuration file"))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		r.entry(node.Content[i], node.Content[i+1], prefix+node.Content[i].Value)
	}
}

// secretWords matches names of keys that sound like secrets.
var secretWords = regexp.MustCompile(`(?i)password|passwd|secret|token|seed`)

func (r *fileReader) entry(key, value *yaml.Node, name string) {
	var known []string // the keys, and their sections
	for _, o := range options {
		if o.key == name {
			r.option(o, key, value)
			return
		}
		if section, _, _ := strings.Cut(o.key, "."); !slices.Contains(known, section) {
			known = append(known, section)
		}
		known = append(known, o.key)
	}
	refusal := Former(name)
	switch {
	case slices.Contains(known, name), slices.ContainsFunc(formerOptions, func(o formerOption) bool { return strings.HasPrefix(o.key, name+".") }):
		if value.Tag != "!!null" { // a section without keys sets nothing
			r.mapping(value, name+".")
		}
	case refusal != "":
		r.complain(key, "%s", refusal)
	case secretWords.MatchString(name):
		r.complain(key, "%q looks like a secret, which is only read from a file: write it into a file that only one user can read, and set its path (one.auth_file, nats.nkey_file)", name)
	default:
		r.complain(key, "%q does not exist%s", name, suggestion(name, known))
	}
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
	o.set(r.config, parsed, fmt.Sprintf("%s:%d", r.name, value.Line))
}

// scalar returns a value as text; a list, if one is allowed, with commas.
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

// parse reads a text as a value of the default's type, or returns its fault.
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

// form describes how values of the default's type are written.
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
