package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// imported is how a key of oneflow-server.conf is imported.
type imported struct {
	key     string                            // our key for the value; empty for none
	convert func(text string) (string, error) // converts OneFlow's value to ours; nil keeps it
	why     string                            // why a key is not imported, or how it differs
}

// oneflowKeys are all keys of OneFlow 5.12 to 7.4.
var oneflowKeys = map[string]imported{
	"one_xmlrpc":          {key: "one.xmlrpc"},
	"subscriber_endpoint": {key: "one.hooks"},
	"host":                {why: "becomes api.listen, together with port"},
	"port":                {why: "becomes api.listen, together with host"},
	"default_cooldown":    {key: "worker.default_cooldown", convert: seconds},
	"shutdown_action":     {key: "worker.shutdown_action", convert: shutdownAction},
	"vm_name_template":    {key: "worker.vm_name_template"},
	"vr_name_template":    {key: "worker.vr_name_template"},
	"concurrency":         {why: "no use: one.connections limits the load on oned"},
	"log.level":           {key: "log.level", convert: logLevel},
	"wait_timeout":        {key: "worker.look_again", convert: seconds, why: "it only limits the delay when an event is lost"},
	"autoscaler_interval": {key: "worker.autoscaler_interval", convert: seconds},
	"action_number":       {key: "api.action_number"},
	"action_period":       {key: "api.action_period", convert: seconds},
	"page_size":           {why: "ignored: Flowjet chooses the page size"},
	"retries":             {why: "ignored: temporary errors are retried automatically"},
	"force_deletion":      {why: "ignored: a service that cannot be undeployed is deleted with `recover --delete`"},
	"core_auth":           {why: "ignored: Flowjet always acts for users with the server's cipher"},
	"log":                 {why: "see log.level"},
	"log.system":          {why: "ignored: the log goes to standard error, and under systemd to the journal"},
	"lcm_interval":        {why: "ignored: services are driven by events"},
	"tmpdir":              {why: "no use"},
	"debug_level":         {key: "log.level", convert: logLevel},
}

// Import reads OneFlow's oneflow-server.conf and writes a configuration file of Flowjet's with the same settings; report
// gets a line for each key. The other settings of base, a configuration file of Flowjet's or empty, are kept, with their
// comments.
func Import(conf io.Reader, base []byte, out, report io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(conf, maxFileSize))
	if err != nil {
		return fmt.Errorf("read OneFlow's configuration: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("read OneFlow's configuration: %w: it must be YAML whose keys begin with a colon", err)
	}
	given := map[string]string{}
	var order []string
	if len(document.Content) > 0 {
		order = symbols(document.Content[0], "", given)
	}
	if len(order) == 0 {
		return errors.New("read OneFlow's configuration: it has no keys: is it oneflow-server.conf?")
	}
	if !slices.ContainsFunc(order, func(name string) bool { _, known := oneflowKeys[name]; return known && name != "log" }) {
		return fmt.Errorf("read OneFlow's configuration: none of its keys (%s) is a key of OneFlow: is it oneflow-server.conf?", strings.Join(order[:min(len(order), 3)], ", "))
	}
	values, err := translate(order, given, report)
	if err != nil {
		return err
	}
	return writeConfig(out, base, values)
}

// symbols collects the keys without their colons, and their values.
func symbols(node *yaml.Node, prefix string, into map[string]string) (order []string) {
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		name := prefix + strings.Trim(node.Content[i].Value, ":")
		value := node.Content[i+1]
		if value.Kind == yaml.MappingNode {
			order = append(order, symbols(value, name+".", into)...)
			continue
		}
		into[name] = value.Value
		if symbol, is := strings.CutPrefix(value.Value, ":"); is && !strings.HasPrefix(symbol, ":") { // no IPv6 address
			into[name] = symbol
		}
		if value.Kind == yaml.SequenceNode {
			into[name] = "a list"
		}
		order = append(order, name)
	}
	return order
}

func translate(order []string, given map[string]string, report io.Writer) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range order {
		rule, known := oneflowKeys[name]
		switch {
		case !known:
			fmt.Fprintf(report, ":%s  ignored: OneFlow 7.4 has no such key\n", name)
		case rule.key == "":
			fmt.Fprintf(report, ":%s  %s\n", name, rule.why)
		case given[name] == "":
			fmt.Fprintf(report, ":%s  ignored: it has no value\n", name)
		default:
			value, remark := given[name], ""
			if rule.convert != nil {
				var err error
				if value, err = rule.convert(value); err != nil {
					return nil, fmt.Errorf("key :%s: of OneFlow's configuration is %q: %w", name, given[name], err)
				}
			}
			if rule.why != "" {
				remark = " (" + rule.why + ")"
			}
			values[rule.key] = value
			fmt.Fprintf(report, ":%s  -> %s: %s%s\n", name, rule.key, value, remark)
		}
	}
	if given["host"] != "" || given["port"] != "" {
		values["api.listen"] = net.JoinHostPort(cmp.Or(given["host"], "127.0.0.1"), cmp.Or(given["port"], "2474"))
		fmt.Fprintf(report, ":host, :port  -> api.listen: %s\n", values["api.listen"])
	}
	return values, nil
}

func seconds(text string) (string, error) {
	count, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("it must be a whole number of seconds")
	}
	return (time.Duration(count) * time.Second).String(), nil
}

// shutdownAction also accepts the names of OneFlow before 5.0.
func shutdownAction(text string) (string, error) {
	switch text {
	case "shutdown", "terminate":
		return "terminate", nil
	case "shutdown-hard", "terminate-hard":
		return "terminate-hard", nil
	}
	return "", fmt.Errorf("it must be terminate or terminate-hard")
}

// logLevel converts OneFlow's levels, from 0, errors only, to 3, everything.
func logLevel(text string) (string, error) {
	levels := []string{"error", "warn", "info", "debug"}
	if level, err := strconv.Atoi(text); err == nil && level >= 0 && level < len(levels) {
		return levels[level], nil
	}
	if name := strings.ToLower(text); slices.Contains(levels, name) {
		return name, nil
	}
	return "", fmt.Errorf("it must be 0 (errors) to 3 (debug)")
}

// writeConfig sets values under their keys in a configuration file's text, new ones in the order of the options.
func writeConfig(out io.Writer, base []byte, values map[string]string) error {
	var document yaml.Node
	if err := yaml.Unmarshal(base, &document); err != nil {
		return fmt.Errorf("read the configuration to change: %w", err)
	}
	if len(document.Content) == 0 {
		document = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := document.Content[0]
	for _, o := range options {
		text, set := values[o.key]
		if !set {
			continue
		}
		value, err := o.node(text)
		if err != nil {
			return err
		}
		section, name := root, o.key
		if before, after, nested := strings.Cut(o.key, "."); nested {
			section, name = entry(root, before), after
			section.Kind, section.Tag = yaml.MappingNode, "" // it may be empty
		}
		*entry(section, name) = *value
	}
	if len(root.Content) == 0 {
		return nil
	}
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return encoder.Close()
}

// entry returns the value of a mapping's key, which is added if it is missing.
func entry(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
	return value
}

// node returns an option's value as YAML.
func (o option) node(text string) (*yaml.Node, error) {
	parsed, complaint := parse(o.standard, text)
	if complaint == "" {
		if wrong := o.complaint(parsed); wrong != "" {
			complaint = fmt.Sprintf("is %q: %s", text, wrong)
		}
	}
	if complaint != "" {
		return nil, fmt.Errorf("%s %s", o.key, complaint)
	}
	if duration, is := parsed.(time.Duration); is {
		parsed = duration.String()
	}
	value := &yaml.Node{}
	if err := value.Encode(parsed); err != nil {
		return nil, fmt.Errorf("write %s: %w", o.key, err)
	}
	return value, nil
}
