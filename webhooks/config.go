package webhooks

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/yamlfile"
)

// Settings are the contents of the webhooks file.
type Settings struct {
	// Receivers get the transitions of all services.
	Receivers []Receiver `yaml:"receivers"`
	// Services reports whether services may name receivers of their own, in the attribute flowjet_webhooks of their templates. It
	// is off by default: a user who may write a template could then have the workers post to any address that they reach and
	// that is not denied.
	Services bool `yaml:"services"`
	// Secrets are the secrets that services may name.
	Secrets []Secret `yaml:"secrets"`
	// AllowAddresses are networks (10.0.0.0/8) that may be posted to although they are of this host or link-local; DenyAddresses
	// ones that may not.
	AllowAddresses []netip.Prefix `yaml:"allow_addresses"`
	DenyAddresses  []netip.Prefix `yaml:"deny_addresses"`
	// Timeout is how long one attempt may take, default 10 s; GiveUpAfter how old a delivery may become before it is a dead
	// letter, default 24 h; FirstPause the pause after the first failure, default 1 s: each is twice the one before it, up to
	// LongestPause, default 10 min.
	Timeout      time.Duration `yaml:"timeout"`
	GiveUpAfter  time.Duration `yaml:"give_up_after"`
	FirstPause   time.Duration `yaml:"first_pause"`
	LongestPause time.Duration `yaml:"longest_pause"`
}

// Receiver is a receiver of the configuration.
type Receiver struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// SecretFile holds the secret that deliveries are signed with; empty for unsigned ones.
	SecretFile string `yaml:"secret_file"`
	// Kinds are service (if there are none), role, vm, network and router.
	Kinds []string `yaml:"kinds"`
	// States are the only new states to be delivered; all if there are none.
	States []string `yaml:"states"`
}

// Secret is a secret that services may name.
type Secret struct {
	Name string `yaml:"name"`
	File string `yaml:"file"`
	// Users are the owners of the services that may name it; all if there are none.
	Users []string `yaml:"users"`
}

const maxSettings = 1 << 20

// ReadSettings reads a webhooks file.
func ReadSettings(path string) (Settings, error) {
	file, err := os.Open(path)
	if err != nil {
		return Settings{}, fmt.Errorf("read the webhooks file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSettings+1))
	if err == nil && len(text) > maxSettings { // the cut text may be valid, with fewer receivers
		err = fmt.Errorf("it is larger than %d bytes", maxSettings)
	}
	if err != nil {
		return Settings{}, fmt.Errorf("read the webhooks file %s: %w", path, err)
	}
	var settings Settings
	if err := yamlfile.Read(text, &settings, true); err != nil {
		return Settings{}, fmt.Errorf("read the webhooks file %s: %w", path, inOneLine(err))
	}
	if err := settings.check(); err != nil {
		return Settings{}, fmt.Errorf("the webhooks file %s: %w", path, err)
	}
	return settings.withDefaults(), nil
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongValue   = regexp.MustCompile("cannot unmarshal !!\\w+ (`.*`) into (\\S+)")
	// fieldKinds are what Go's types are called in the docs.
	fieldKinds = strings.NewReplacer("time.Duration", "a time, such as 30s", "bool", "true or false", "[]", "a list of ", "string", "strings",
		"webhooks.Receiver", "receivers", "webhooks.Secret", "secrets")
)

// inOneLine returns the reader's errors without Go's types, in one line.
func inOneLine(err error) error {
	wrong, is := errors.AsType[*yaml.TypeError](err)
	if !is {
		return err
	}
	var said []string
	for _, line := range wrong.Errors {
		line = unknownField.ReplaceAllString(line, "$1 is unknown")
		said = append(said, fieldKinds.Replace(wrongValue.ReplaceAllString(line, "$1 is not $2")))
	}
	return errors.New(strings.Join(said, "; "))
}

var receiverName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (s Settings) check() error {
	names := map[string]bool{}
	for i, receiver := range s.Receivers {
		if err := receiver.check(); err != nil {
			return fmt.Errorf("receivers[%d]: %w", i, err)
		}
		if names[receiver.Name] {
			return fmt.Errorf("receivers[%d]: there is another receiver %q: names must be unique", i, receiver.Name)
		}
		names[receiver.Name] = true
	}
	for i, secret := range s.Secrets {
		if !receiverName.MatchString(secret.Name) {
			return fmt.Errorf("secrets[%d]: the name %q must be letters, digits, _ and -", i, secret.Name)
		}
		if err := checkSecretFile(secret.File); err != nil {
			return fmt.Errorf("secrets[%d] %s: %w", i, secret.Name, err)
		}
	}
	if s.Timeout < 0 || s.GiveUpAfter < 0 || s.FirstPause < 0 || s.LongestPause < 0 {
		return errors.New("times must not be negative")
	}
	return nil
}

func (r Receiver) check() error {
	if !receiverName.MatchString(r.Name) {
		return fmt.Errorf("the name %q must be letters, digits, _ and -", r.Name)
	}
	if err := (spec.Webhook{URL: r.URL, Kinds: r.Kinds}).Check(); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	if r.SecretFile != "" {
		if err := checkSecretFile(r.SecretFile); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	known := append(spec.ServiceStateNames(), "DELETED")
	for _, state := range spec.RoleStates() {
		known = append(known, state.String())
	}
	for _, state := range r.States {
		if !slices.Contains(known, state) {
			return fmt.Errorf("%s: states has %q, which is not a state of a service or role", r.Name, state)
		}
	}
	return nil
}

func (s Settings) withDefaults() Settings {
	s.Timeout = cmp.Or(s.Timeout, 10*time.Second)
	s.GiveUpAfter = cmp.Or(s.GiveUpAfter, 24*time.Hour)
	s.FirstPause = cmp.Or(s.FirstPause, time.Second)
	s.LongestPause = cmp.Or(s.LongestPause, 10*time.Minute)
	return s
}
