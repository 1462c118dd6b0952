package pipeline

import (
	"fmt"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// Title names the cause in a few words, with its id: "command scale 4C5R of anna".
func (c Cause) Title() string {
	title := strings.TrimSpace(c.Kind + " " + c.ID)
	if c.User != "" {
		title += " of " + c.User
	}
	return title
}

// timerTexts are what it was time for, by timer.
var timerTexts = map[string]string{
	flow.DeadlineLook:     "a periodic check was due",
	flow.DeadlineStay:     "a deadline passed",
	flow.DeadlineCooldown: "the cooldown was over",
	flow.DeadlineSchedule: "a scheduled policy was due",
	flow.DeadlineRefill:   "its roles were compared with their min_vms",
	flow.DeadlineHeal:     "a failed VM was due to be healed",
	flow.DeadlineRetry:    "a call that oned had refused was retried",
}

// Text tells in plain words what happened: "VM 21 became RUNNING".
func (c Cause) Text() string {
	verb, _, _ := strings.Cut(c.ID, " ")
	switch c.Kind {
	case "command":
		user := c.User
		if user == "" {
			user = "a user"
		}
		return fmt.Sprintf("%s requested %s", user, verb)
	case "timer":
		if text := timerTexts[verb]; text != "" {
			return text
		}
	case "measures":
		return "its VMs were measured"
	case "event":
		return c.eventText()
	case "wake":
		if c.ID == "" {
			return "it was checked"
		}
		return "it was checked: " + c.ID
	}
	return c.Title()
}

// eventText reads what Event.Title has written, and how many more VMs there were.
func (c Cause) eventText() string {
	words := strings.Fields(c.ID)
	if len(words) < 2 {
		return "several VMs changed at once"
	}
	id, rest := words[1], ""
	if words[0] == "one.vm.update" { // READY is written into the user template
		return "the user template of VM " + id + " was changed"
	}
	object, known := map[string]string{"vm": "VM", "net": "network"}[words[0]]
	if !known || len(words) < 3 {
		return c.Title()
	}
	if len(words) > 3 {
		rest = " " + strings.Join(words[3:], " ")
	}
	state, stage, _ := strings.Cut(words[2], "/")
	switch {
	case state == "DONE":
		return object + " " + id + " ended" + rest
	case state == "ACTIVE" && stage != "":
		state = stage
	}
	return object + " " + id + " became " + state + rest
}
