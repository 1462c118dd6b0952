package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/adhocore/gronx"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// MaxRecurrence is in characters: each decision holds a recurrence against every minute up to its next one.
const MaxRecurrence = 256

// noWeekday is in a recurrence for a weekday that no month has so many of. gronx looks through
// hundreds of years for one.
var noWeekday = regexp.MustCompile(`#[^1-5]`)

// ticks remembers when recurrences come next, and that some never do: to find that out takes
// gronx milliseconds, and the same is asked at each decision.
var ticks = struct {
	sync.Mutex
	known map[string]tick
}{known: map[string]tick{}}

type tick struct {
	next  time.Time
	comes bool
}

const maxTicks = 4096

// NextStart is the policy's first start behind the time that it was last looked at; false if there is none. Times
// without a zone are the server's, as are cron's: now carries it.
func (by Adjustment) NextStart(now time.Time) (time.Time, bool) {
	last := time.Unix(by.LastEval, 0).In(now.Location())
	if len(by.Recurrence) > MaxRecurrence || noWeekday.MatchString(by.Recurrence) {
		return time.Time{}, false
	}
	if by.Recurrence == "" {
		start, err := ParseStartTime(by.StartTime, now.Location())
		return start, err == nil && start.After(last)
	}
	key := by.Recurrence + last.Format(time.RFC3339) + last.Location().String()
	ticks.Lock()
	found, known := ticks.known[key]
	ticks.Unlock()
	if known {
		return found.next, found.comes
	}
	next, err := gronx.NextTickAfter(by.Recurrence, last, false)
	ticks.Lock()
	defer ticks.Unlock()
	if len(ticks.known) >= maxTicks {
		clear(ticks.known)
	}
	ticks.known[key] = tick{next, err == nil}
	return next, err == nil
}

// NextSchedule is when the next scheduled policy of the service is due.
func NextSchedule(service spec.Service, now time.Time) (next time.Time, has bool) {
	left := spec.MaxSchedules
	for _, role := range service.Body.Roles {
		for _, each := range Adjustments(role.ScheduledPolicies) {
			if left--; left < 0 {
				return next, has
			}
			if each.LastEval == 0 || role.IsRouter() {
				continue
			}
			if start, due := each.NextStart(now); due && (!has || start.Before(next)) {
				next, has = start, true
			}
		}
	}
	return next, has
}

// Overdue reports whether a service that rests should have done something by now: a schedule was missed, or a role has
// stayed below its minimum. Its timer has been lost, or another server has left it so.
func Overdue(service spec.Service, now time.Time) bool {
	if state := service.State(); state != spec.ServiceRunning && state != spec.ServiceWarning {
		return false
	}
	for role := range service.Body.EachRole() {
		if role.BelowMinimum() {
			return true
		}
		for _, each := range Adjustments(role.ScheduledPolicies) {
			if each.LastEval == 0 {
				return true
			}
		}
	}
	next, has := NextSchedule(service, now)
	return has && next.Before(now)
}

// startTimeLayouts are the ways in which a time can be written. Without a zone it is in the server's, as in OneFlow.
var startTimeLayouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05", "2006-01-02T15:04:05",
	"2006-01-02 15:04", "2006-01-02", time.RFC1123Z, time.RFC1123, time.ANSIC,
}

// latestStart bounds a start_time: later ones cannot be written in RFC 3339 in every zone.
var latestStart = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// ParseStartTime reads a scheduled policy's start_time: unix seconds as a number or a text, or a date with time such as
// "2030-01-31 09:00:00", which without a zone of its own is in the one given.
func ParseStartTime(value json.RawMessage, zone *time.Location) (time.Time, error) {
	text := string(value)
	_ = json.Unmarshal(value, &text) // a number stays as it is
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 && seconds < latestStart.Unix() {
		return time.Unix(seconds, 0).In(zone), nil
	}
	for _, layout := range startTimeLayouts {
		if start, err := time.ParseInLocation(layout, text, zone); err == nil && start.Before(latestStart) {
			return start, nil
		}
	}
	return time.Time{}, fmt.Errorf("is %s, which is not a time such as \"2030-01-31 09:00:00\" or unix seconds", raw.Shown(string(value)))
}
