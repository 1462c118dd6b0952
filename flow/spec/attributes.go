package spec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
)

// NetworkSource is what a service's own network is made from.
type NetworkSource string

// The sources, by their attributes in networks_values.
const (
	// FromTemplate: a network template is instantiated.
	FromTemplate NetworkSource = "template_id"
	// FromReservation: addresses of another network are reserved.
	FromReservation NetworkSource = "reserve_from"
)

// NetworkValue is one element of networks_values: the choice for one network.
type NetworkValue map[string]raw.Object

// ReadNetworkValues parses and checks networks_values, and returns the choices in it, one each: an element may have several networks, and
// a form whose network was left open sends an empty element for it, or its "extra" alone. In a running service's, a network that was made has its id beside its source.
func ReadNetworkValues(text json.RawMessage, running bool) ([]NetworkValue, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var values []NetworkValue
	if json.Unmarshal(text, &values) != nil {
		return nil, fmt.Errorf("must be an array such as [{\"Public\": {\"id\": \"0\"}}]")
	}
	var chosen []NetworkValue
	for i, value := range values {
		if value == nil {
			return nil, fmt.Errorf("must be an array of objects; element %d is null", i)
		}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			choice := value[name]
			// In a running service it is refused when the network is to be made.
			if err := CheckAddresses(raw.Text(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("asks for too much for network %q: %w", name, err)
			}
			if err := one.CheckTemplate(raw.Text(choice["extra"])); err != nil && !running {
				return nil, fmt.Errorf("has an \"extra\" for network %q that %w", name, err)
			}
			if wrong := WrongNetworkName(name, choice); wrong != "" && !running {
				return nil, errors.New(wrong)
			}
			if _, hasExtra := choice["extra"]; !running && hasExtra && len(choice) == 1 {
				continue
			}
			_, made := choice["id"]
			fromOne := choice.HasOne("template_id", "reserve_from")
			if !choice.HasOne("id", "template_id", "reserve_from") && (!running || !made || !fromOne) {
				return nil, fmt.Errorf("must have one of id, template_id and reserve_from for network %q", name)
			}
			chosen = append(chosen, NetworkValue{name: choice})
		}
	}
	if len(chosen) > MaxNetworks && !running {
		return nil, fmt.Errorf("has %d networks; at most %d are possible", len(chosen), MaxNetworks)
	}
	return chosen, nil
}

// WrongNetworkName returns why a network with the name, which is its name at oned too, cannot be made.
func WrongNetworkName(name string, choice raw.Object) string {
	if !choice.HasOne(string(FromTemplate), string(FromReservation)) {
		return ""
	}
	if wrong := one.Unstorable(name); wrong != "" {
		return fmt.Sprintf("has the name %q, which %s", raw.Shown(name), wrong)
	}
	if !strings.ContainsAny(name, "&|:\\\";/'#{}$<>\n\r") {
		return ""
	}
	return fmt.Sprintf("has the name %q: oned refuses network names with any of & | : \\ \" ; / ' # { } $ < >", raw.Shown(name))
}

// sizePattern matches the number of addresses that a template's text asks for.
var sizePattern = regexp.MustCompile(`(?i)\bSIZE\s*=\s*["']?\s*\+?(\d+)`)

// CheckAddresses returns an error if the text of a network to be made asks for more than MaxAddresses.
func CheckAddresses(text string) error {
	for _, found := range sizePattern.FindAllStringSubmatch(text, -1) {
		if count, err := strconv.ParseUint(found[1], 10, 63); err != nil || count > MaxAddresses {
			return fmt.Errorf("SIZE=%s is more than %d addresses", raw.Shown(found[1]), MaxAddresses)
		}
	}
	return nil
}

// JoinsNetwork reports whether the text of a reservation names a network to which its addresses are to be added. That network is not the
// service's own.
var JoinsNetwork = regexp.MustCompile(`(?i)\bNETWORK_ID\s*=`).MatchString

// AsksForAddresses reports whether the text has a SIZE above 0.
func AsksForAddresses(text string) bool {
	sizes := sizePattern.FindAllStringSubmatch(text, -1)
	return slices.ContainsFunc(sizes, func(found []string) bool { return strings.Trim(found[1], "0") != "" })
}

// ChosenNetworks iterates over the networks in networks_values by name; over none if it is invalid.
func ChosenNetworks(values json.RawMessage) iter.Seq2[string, raw.Object] {
	return func(yield func(string, raw.Object) bool) {
		chosen, _ := ReadNetworkValues(values, true)
		for _, value := range chosen {
			for name, choice := range value {
				if !yield(name, choice) {
					return
				}
			}
		}
	}
}

// NetworkIDs returns the ids of all networks in networks_values, by name and as they are written: as a text if a user gave it so, as
// OneFlow answers.
func NetworkIDs(chosen json.RawMessage) map[string]json.RawMessage {
	ids := map[string]json.RawMessage{}
	for name, choice := range ChosenNetworks(chosen) {
		if _, known := raw.Whole(choice["id"]); known {
			ids[name] = choice["id"]
		}
	}
	return ids
}

// UserInput is a template's declaration of a value that is asked for when it is instantiated, "O|number|memory in MB| |512", or
// of a network, "M|network|Public| |id:0".
type UserInput struct {
	Optional                            bool
	Kind, Description, Options, Initial string
}

// ParseInput parses a declaration. An unreadable one is mandatory, as with OneFlow.
func ParseInput(declaration json.RawMessage) UserInput {
	parts := append(strings.SplitN(raw.Text(declaration), "|", 5), "", "", "", "")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return UserInput{Optional: parts[0] == "O", Kind: parts[1], Description: parts[2], Options: parts[3], Initial: parts[4]}
}

// Value returns the default as the commands of OpenNebula send it, empty if there is none.
func (u UserInput) Value() string {
	if u.Kind == "text64" {
		return base64.StdEncoding.EncodeToString([]byte(u.Initial))
	}
	return u.Initial
}

// Inputs are the user inputs of a body or a role: their declarations and their values. Those that OneFlow 6 called custom_attrs come first.
type Inputs struct{ Declared, Values []raw.Object }

// Inputs returns the inputs that all roles have.
func (b Body) Inputs() Inputs { return inputsOf(b.Extra, b.UserInputs, b.UserInputsValues) }

// Inputs returns the inputs that only this role has.
func (r *Role) Inputs() Inputs { return inputsOf(r.Extra, r.UserInputs, r.UserInputsValues) }

func inputsOf(extra map[string]json.RawMessage, declared, values json.RawMessage) Inputs {
	return Inputs{
		Declared: []raw.Object{raw.Attributes(extra["custom_attrs"]), raw.Attributes(declared)},
		Values:   []raw.Object{raw.Attributes(extra["custom_attrs_values"]), raw.Attributes(values)},
	}
}

// Names returns the names of the inputs that are declared or have values.
func (i Inputs) Names() (names []string) {
	for _, inputs := range slices.Concat(i.Declared, i.Values) {
		names = slices.AppendSeq(names, maps.Keys(inputs))
	}
	return names
}

// sealedExtra are the attributes of OneFlow 6 that hold user inputs, their values, and contents.
var sealedExtra = []string{"custom_attrs", "custom_attrs_values", "vm_template_contents"}

// sealPrefix is the beginning of everything that internal/seal has sealed.
const sealPrefix = "sealed:"

// Sealed returns the body with everything that may contain or derive from a user's secret sealed: user inputs, which may have a password as
// default, their values, and the roles' template_contents.
func (b Body) Sealed(seal func([]byte) string) Body {
	sealed, _ := b.withSecrets(func(value json.RawMessage) (json.RawMessage, error) {
		if len(value) <= len(`{}`) {
			return value, nil
		}
		return raw.Marshal(seal(value)), nil
	})
	return sealed
}

// Opened returns the body that was sealed. The error is open's.
func (b Body) Opened(open func(string) ([]byte, error)) (Body, error) {
	return b.withSecrets(func(value json.RawMessage) (json.RawMessage, error) {
		if text := raw.Text(value); strings.HasPrefix(text, sealPrefix) {
			return open(text)
		}
		return value, nil // too short, or stored by a version that sealed no texts
	})
}

func (b Body) withSecrets(change func(json.RawMessage) (json.RawMessage, error)) (Body, error) {
	var err error
	changed := func(value json.RawMessage) json.RawMessage {
		if len(value) == 0 || err != nil {
			return value
		}
		var into json.RawMessage
		if into, err = change(value); err != nil {
			return value
		}
		return into
	}
	extra := func(attributes map[string]json.RawMessage) map[string]json.RawMessage {
		for _, name := range sealedExtra {
			if value, has := attributes[name]; has {
				attributes = maps.Clone(attributes)
				attributes[name] = changed(value)
			}
		}
		return attributes
	}
	b.UserInputs = changed(b.UserInputs)
	b.UserInputsValues = changed(b.UserInputsValues)
	b.Extra = extra(b.Extra)
	b.Roles = slices.Clone(b.Roles)
	for role := range b.EachRole() {
		role.UserInputs = changed(role.UserInputs)
		role.UserInputsValues = changed(role.UserInputsValues)
		role.TemplateContents = changed(role.TemplateContents)
		role.Extra = extra(role.Extra)
		if role.old != nil {
			role.old = &oldRole{typed: role.old.typed, contents: oldContents(role.Extra)}
		}
	}
	return b, err
}

// quotedContext matches a CONTEXT that oned cannot read, as oned repeats it in its refusal.
var quotedContext = regexp.MustCompile(`(?s)(Error parsing): .*(syntax error)`)

// WithoutSecrets returns oned's message about an object for a role, without the values of the role's inputs of type password: oned repeats
// what it cannot parse, and its messages are logged.
func (s Service) WithoutSecrets(role, message string) string {
	var found []string
	add := func(inputs Inputs) {
		for _, declared := range inputs.Declared {
			for name, declaration := range declared {
				for _, values := range inputs.Values {
					if value := raw.Plain(values[name]); value != "" && ParseInput(declaration).Kind == "password" {
						found = append(found, value)
					}
				}
			}
		}
	}
	add(s.Body.Inputs())
	if held := s.Role(role); held != nil {
		add(held.Inputs())
	}
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	var hidden []string
	for _, secret := range found {
		hidden = append(hidden, secret, "***")
	}
	message = quotedContext.ReplaceAllString(message, "$1 CONTEXT: $2")
	return strings.NewReplacer(hidden...).Replace(message) // once: *** may be a secret too
}

// WebhooksAttribute is the attribute of a service template that names receivers of the service's events. OneFlow keeps it and ignores it.
const WebhooksAttribute = "flowjet_webhooks"

// The limits of a service's receivers: their number, and the length of their URLs in bytes.
const (
	MaxWebhooks   = 4
	MaxWebhookURL = 1024
)

// Webhook is a receiver of a service's events.
type Webhook struct {
	// URL is http or https, without user and password.
	URL string `json:"url"`
	// Secret names one of the configuration's secrets to sign with.
	Secret string `json:"secret,omitempty"`
	// Kinds are the kinds of transition to deliver: service (if there are none), role, vm, network, router.
	Kinds []string `json:"kinds,omitempty"`
}

// WebhookKinds are the kinds of transition.
var WebhookKinds = []string{"service", "role", "vm", "network", "router"}

var secretName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Check returns what is wrong with the receiver, nil if nothing is.
func (w Webhook) Check() error {
	if len(w.URL) > MaxWebhookURL {
		return fmt.Errorf("url has %d characters: the maximum is %d", len(w.URL), MaxWebhookURL)
	}
	parsed, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Errorf("url is not valid: it must look like https://host/path")
	}
	port, err := strconv.ParseUint(parsed.Port(), 10, 16)
	switch {
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "":
		return fmt.Errorf("url %q must look like https://host/path", parsed.Redacted())
	case parsed.Port() != "" && (err != nil || port == 0):
		return fmt.Errorf("url %q is not valid: the port must be between 1 and 65535", parsed.Redacted())
	case parsed.User != nil:
		return fmt.Errorf("url %q must not contain a user or password: sign with a secret instead", parsed.Redacted())
	case parsed.Fragment != "":
		return fmt.Errorf("url %q must not have a fragment (#)", parsed.Redacted())
	case w.Secret != "" && !secretName.MatchString(w.Secret):
		return fmt.Errorf("secret must be the name of a secret of the configuration: letters, digits, _ and -, not the secret itself")
	}
	for _, kind := range w.Kinds {
		if !slices.Contains(WebhookKinds, kind) {
			return fmt.Errorf("kinds has %q: the kinds are %v", kind, WebhookKinds)
		}
	}
	return nil
}

// Wants reports whether the receiver gets transitions of the kind.
func (w Webhook) Wants(kind string) bool {
	return len(w.Kinds) == 0 && kind == "service" || slices.Contains(w.Kinds, kind)
}

// ReadWebhooks returns the receivers that a service names; the error says what is wrong with the attribute.
func ReadWebhooks(body Body) ([]Webhook, error) {
	text := body.Extra[WebhooksAttribute]
	if len(text) == 0 {
		return nil, nil
	}
	var webhooks []Webhook
	reader := json.NewDecoder(bytes.NewReader(text))
	reader.DisallowUnknownFields()
	if err := reader.Decode(&webhooks); err != nil {
		return nil, fmt.Errorf(`must be a list like [{"url": "https://host/path", "secret": "name", "kinds": ["service"]}]`)
	}
	if len(webhooks) > MaxWebhooks {
		return nil, fmt.Errorf("has %d receivers: the maximum is %d", len(webhooks), MaxWebhooks)
	}
	for i, webhook := range webhooks {
		if err := webhook.Check(); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return webhooks, nil
}
