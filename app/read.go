package app

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// ReadConfig puts the configuration together: defaults, the file at path if one
// is given, FLOWJET_… variables, and the flags that were set. The error names
// everything that is wrong, a line each, with the line of the file and what
// mends it.
func ReadConfig(path string, flags *pflag.FlagSet) (Config, error) {
	config, problems := read(path, flags)
	return config, problems.err()
}

// CheckConfig is ReadConfig for who wants to know beforehand: it also looks at
// the files that are named, and finds what is only doubtful.
func CheckConfig(path string, flags *pflag.FlagSet) (wrong, doubtful []string) {
	config, problems := read(path, flags)
	for _, problem := range append(problems, config.checkFiles()...) {
		wrong = append(wrong, problem.String())
	}
	for _, problem := range append(unknownVariables(), config.doubts()...) {
		doubtful = append(doubtful, problem.String())
	}
	return wrong, doubtful
}

// UnknownVariables are the FLOWJET_ variables that set nothing, a line each:
// most likely one is misspelt.
func UnknownVariables() (lines []string) {
	for _, problem := range unknownVariables() {
		lines = append(lines, problem.String())
	}
	return lines
}

// layers are the values of all sources, the stronger over the weaker, each with
// where it was set.
type layers struct {
	values  map[string]any
	origins map[string]string
}

func (l *layers) set(key string, value any, origin string) {
	l.values[key], l.origins[key] = value, origin
}

func read(path string, flags *pflag.FlagSet) (Config, problems) {
	all := &layers{values: map[string]any{}, origins: map[string]string{}}
	for _, o := range options {
		all.set(o.key, o.standard, "the default")
	}
	var found problems
	if path != "" {
		found = append(found, all.readFile(path)...)
	}
	found = append(found, all.readVariables()...)
	found = append(found, formerVariables()...)
	all.readFlags(flags)
	config, err := decode(all.values)
	if err != nil {
		return Config{}, append(found, problem{what: fmt.Sprintf("the configuration cannot be used: %v", err)})
	}
	config.origins, config.values = all.origins, all.values
	return config, append(found, config.check(all)...)
}

// readVariables takes what FLOWJET_ variables say. Unknown ones are left alone.
func (l *layers) readVariables() problems {
	var found problems
	for _, o := range options {
		text, is := os.LookupEnv(envName(o.flag))
		if !is {
			continue
		}
		value, complaint := parse(o.standard, text)
		if complaint != "" {
			found = append(found, problem{where: envName(o.flag), what: complaint})
			continue
		}
		l.set(o.key, value, envName(o.flag))
	}
	return found
}

// readFlags takes the flags that were set; their form was checked when they
// were parsed.
func (l *layers) readFlags(flags *pflag.FlagSet) {
	for _, o := range options {
		given := flags.Lookup(o.flag)
		if given == nil || !given.Changed {
			continue
		}
		text := given.Value.String()
		if list, is := given.Value.(pflag.SliceValue); is {
			text = strings.Join(list.GetSlice(), ",")
		}
		value, _ := parse(o.standard, text)
		l.set(o.key, value, "--"+o.flag)
	}
}

func decode(flat map[string]any) (Config, error) {
	values := koanf.New(".")
	var config Config
	if err := values.Load(confmap.Provider(maps.Clone(flat), "."), nil); err != nil {
		return config, err
	}
	err := values.UnmarshalWithConf("", &config, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{Result: &config, TagName: "koanf"}})
	return config, err
}

// fromKubernetes are the variables that Kubernetes sets for services whose names
// begin with flowjet.
var fromKubernetes = regexp.MustCompile(`^FLOWJET(_.*)?_(SERVICE_HOST|SERVICE_PORT|PORT)(_.*)?$`)

// unknownVariables are FLOWJET_ variables that mean nothing, perhaps mistyped.
func unknownVariables() problems {
	var names []string
	for _, o := range options {
		names = append(names, envName(o.flag))
	}
	known := slices.Clone(names)
	for _, o := range formerOptions {
		known = append(known, envName(o.flag)) // refused already
	}
	var found problems
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "FLOWJET_") && !slices.Contains(known, name) && !fromKubernetes.MatchString(name) {
			found = append(found, problem{where: name, what: "no option has this environment variable" + suggestion(name, names)})
		}
	}
	return found
}
