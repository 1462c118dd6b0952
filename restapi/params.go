package restapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// What the values of parameters mean is decided here, once for each type of parameter, by what OneFlow's clients
// mean: Sunstone writes numbers as texts and sends what was not filled in as an empty text, goca sends -1 for what is to
// stay and null for what is not there. docs/api.md has the table.

// has reports whether the attribute is there and not null.
func (a attributes) has(name string) bool {
	value, found := a[name]
	return found && !bytes.Equal(bytes.TrimSpace(value), []byte("null"))
}

// wrong is the error of an attribute that is not what it must be.
func (a attributes) wrong(name, must string) error {
	if !a.has(name) {
		return badRequest("%q is missing; it must be %s", name, must)
	}
	return badRequest("%q must be %s", name, must)
}

// scalar is the text of a text, number or boolean; not ok for an object or an array, and for what is not there.
func (a attributes) scalar(name string) (text string, ok bool) {
	value := bytes.TrimSpace(a[name])
	if !a.has(name) || value[0] == '{' || value[0] == '[' {
		return "", false
	}
	if json.Unmarshal(value, &text) == nil {
		return text, true
	}
	return string(value), true
}

// wholeNumber reads 2, "2", " 2 " and 2.0.
func wholeNumber(text string) (number int, ok bool) {
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || value != math.Trunc(value) || math.Abs(value) > math.MaxInt32 {
		return 0, false
	}
	return int(value), true
}

// text is an attribute that has to be a text, and not an empty one.
func (a attributes) text(name string) (string, error) {
	var value string
	if !a.has(name) || json.Unmarshal(a[name], &value) != nil {
		return "", a.wrong(name, "a string")
	}
	if strings.TrimSpace(value) == "" {
		return "", badRequest("%q is empty; it must be a string", name)
	}
	return value, nil
}

// note is a text that may be left out or empty, or be written as a number.
func (a attributes) note(name string) (string, error) {
	text, ok := a.scalar(name)
	if !ok && a.has(name) {
		return "", badRequest("%q must be a string", name)
	}
	return text, nil
}

// whole is a whole number from 0 on, or a text of one.
func (a attributes) whole(name string) (int, error) {
	text, ok := a.scalar(name)
	number, isNumber := wholeNumber(text)
	if !ok || !isNumber || number < 0 {
		return 0, a.wrong(name, "a whole number, 0 or more")
	}
	return number, nil
}

// unchanged stands for a user or a group that is to stay as it is, for oned too.
const unchanged = -1

// owner is the id of a user or a group, or a text of one. -1 and an empty text leave it as it is.
func (a attributes) owner(name string) (int, error) {
	text, ok := a.scalar(name)
	if ok && strings.TrimSpace(text) == "" {
		return unchanged, nil
	}
	id, isNumber := wholeNumber(text)
	if !ok || !isNumber || id < unchanged {
		return 0, a.wrong(name, "an id, or -1 to leave it unchanged")
	}
	return id, nil
}

// spacing is a number that spreads actions over VMs, or a text of one: as configured if it is not there; 0, what is
// below and an empty text switch it off.
func (a attributes) spacing(name string, configured int) (int, error) {
	if !a.has(name) {
		return configured, nil
	}
	text, ok := a.scalar(name)
	if ok && strings.TrimSpace(text) == "" {
		return 0, nil
	}
	number, isNumber := wholeNumber(text)
	if !ok || !isNumber {
		return 0, badRequest("%q must be a whole number; 0 or an empty string for all VMs at once", name)
	}
	return max(number, 0), nil
}

// flag is true or false, or a text or number that stands for it; false if it is not there or empty.
func (a attributes) flag(name string) (bool, error) {
	text, ok := a.scalar(name)
	if !ok && !a.has(name) {
		return false, nil
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		return true, nil
	case "false", "0", "":
		if ok {
			return false, nil
		}
	}
	return false, badRequest("%q must be true or false", name)
}

// octet is three octal digits, as a text or a number. Leading zeros may be missing: goca drops them.
func (a attributes) octet(name string) (string, error) {
	text, ok := a.scalar(name)
	digits := strings.TrimLeft(strings.TrimSpace(text), "0")
	if !a.has(name) || text == "" {
		return "", badRequest("%q is missing; it must be three octal digits such as \"640\"", name)
	}
	if !ok || len(digits) > 3 || strings.Trim(digits, "01234567") != "" {
		return "", badRequest("%q must be three octal digits such as \"640\"", name)
	}
	return fmt.Sprintf("%03s", digits), nil
}

// recursive is how far a clone goes. As with OneFlow everything but "none" and "all" stands for the VM templates: true, false
// and nothing, too.
func (a attributes) recursive(name string) reach {
	text, _ := a.scalar(name)
	switch far := reach(text); far {
	case reachNone, reachAll:
		return far
	}
	return reachTemplates
}

// deletes is how far a deletion goes: none if it is not there or empty. Unlike a clone, which only makes more than
// was wanted, it is not to go further than was asked.
func (a attributes) deletes(name string) (reach, error) {
	text, ok := a.scalar(name)
	switch far := reach(text); far {
	case "":
		if ok || !a.has(name) {
			return reachNone, nil
		}
	case reachNone, reachTemplates, reachAll:
		return far, nil
	}
	return reachNone, badRequest("%q must be none, templates or all", name)
}

// objectOrText is an attribute that has to be an object, or a text of one.
func (a attributes) objectOrText(name string) (json.RawMessage, error) {
	if !a.has(name) {
		return nil, badRequest("%q is missing; it must be a JSON object, or a string with one", name)
	}
	value := bytes.TrimSpace(a[name])
	var text string
	if json.Unmarshal(value, &text) == nil {
		value = []byte(text)
	}
	_, err := readAttributes(fmt.Sprintf("%q", name), value)
	return value, err
}
