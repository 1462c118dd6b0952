package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
)

// WebhooksAttribute is the attribute of a service template that names receivers
// of the service's events. OneFlow keeps it and makes nothing of it.
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
	// Kinds are the kinds of transition to be told: service (if there are none), role, vm, network, router.
	Kinds []string `json:"kinds,omitempty"`
}

// WebhookKinds are the kinds of transition.
var WebhookKinds = []string{"service", "role", "vm", "network", "router"}

var secretName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Check says what is wrong with the receiver, nil if nothing is.
func (w Webhook) Check() error {
	if len(w.URL) > MaxWebhookURL {
		return fmt.Errorf("url has %d characters: the maximum is %d", len(w.URL), MaxWebhookURL)
	}
	parsed, err := url.Parse(w.URL)
	switch {
	case err != nil:
		return fmt.Errorf("url is not valid: it must look like https://host/path")
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "":
		return fmt.Errorf("url %q must look like https://host/path", parsed.Redacted())
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

// Wants reports whether the receiver is to be told of transitions of the kind.
func (w Webhook) Wants(kind string) bool {
	return len(w.Kinds) == 0 && kind == "service" || slices.Contains(w.Kinds, kind)
}

// Webhooks are the receivers that a service names; none where the attribute cannot be used.
func Webhooks(body Body) []Webhook {
	webhooks, err := ReadWebhooks(body.Extra[WebhooksAttribute])
	if err != nil {
		return nil
	}
	return webhooks
}

// ReadWebhooks reads the attribute; the error tells what is wrong with it.
func ReadWebhooks(text json.RawMessage) ([]Webhook, error) {
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
