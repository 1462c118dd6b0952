package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// ImmutableError is an attempt to change what cannot be changed.
type ImmutableError struct {
	Attribute string
	// Live reports whether it is a running service's and not a template's.
	Live bool
	// Instead is what does change it, if anything does.
	Instead string
}

// Error names the attribute.
func (e *ImmutableError) Error() string {
	if e.Live && e.Instead != "" {
		return fmt.Sprintf("%q cannot be changed by an update; %s", e.Attribute, e.Instead)
	}
	if e.Live {
		return fmt.Sprintf("%q cannot be changed in a running service; omit it", e.Attribute)
	}
	return fmt.Sprintf("%q cannot be changed after the template was created; omit it", e.Attribute)
}

// Replace reads a body that is to take the place of a template's body
// as oned holds it. The error is a Violations, a *SyntaxError or an
// *ImmutableError.
func Replace(held, text []byte, now time.Time) (spec.Body, error) {
	replacement, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	// What oned holds may be unreadable: replacing it is then the mend.
	old, err := readObject(held)
	if err != nil {
		old = raw.Object{}
	}
	return change(old, replacement, now)
}

// Append reads attributes that are to be set in a template's body as
// oned holds it; the others stay. The errors are Replace's.
func Append(held, text []byte, now time.Time) (spec.Body, error) {
	addition, err := readObject(text)
	if err != nil {
		return spec.Body{}, err
	}
	old, err := readObject(held)
	if err != nil {
		return spec.Body{}, fmt.Errorf("read the template: %w", err)
	}
	merged := maps.Clone(old)
	maps.Copy(merged, addition)
	return change(old, merged, now)
}

func change(old, replacement raw.Object, now time.Time) (spec.Body, error) {
	const attribute = "registration_time"
	was, given := old[attribute], replacement[attribute]
	if len(was) > 0 && len(given) > 0 && !raw.Equal(was, given) {
		return spec.Body{}, &ImmutableError{Attribute: attribute}
	}
	registered := registrationTime(old, now)
	kept, text := isOld(old) && isOld(replacement), replacement.JSON()
	if raw.Equal(old.JSON(), text) {
		kept = true
	}
	body, err := readTemplate(replacement, registered)
	if err != nil || !kept {
		return body, err
	}
	// It stays in the form that it has: of OneFlow 6, or without what is left out.
	if body, err = spec.ParseBody(text); err != nil {
		return spec.Body{}, err
	}
	body.RegistrationTime = registered.Unix()
	return body, nil
}

// registrationTime is when a template was registered; now for one that does
// not say.
func registrationTime(template raw.Object, now time.Time) time.Time {
	var seconds int64
	if json.Unmarshal(template["registration_time"], &seconds) != nil || seconds <= 0 {
		return now
	}
	return time.Unix(seconds, 0)
}
