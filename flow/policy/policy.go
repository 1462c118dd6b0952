// Package policy reads what users set for roles and services beside their size: when they scale, how they are healed, how long they may
// wait, and which VMs they lose. It reads leniently, because other servers write documents too, and returns what is wrong to package
// template.
package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/adhocore/gronx"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// Adjustment is an elasticity or scheduled policy as far as decisions need it. The documents of other servers are read leniently.
type Adjustment struct {
	Type          string
	Adjust        int
	MinAdjustStep int
	// Cooldown is in seconds; nil means the role's.
	Cooldown *int
	// LastEval is when the policy was last evaluated, in unix seconds; 0 for never.
	LastEval int64

	// Expression, Evaluated (with its values at LastEval), Period (seconds), PeriodNumber and TrueEvals are an elasticity policy's.
	Expression   string
	Evaluated    string
	Period       int
	PeriodNumber int
	TrueEvals    int

	// Recurrence and StartTime are a scheduled policy's.
	Recurrence string
	StartTime  json.RawMessage
}

// The types of policy: how a cardinality is changed.
const (
	changeBy        = "CHANGE"
	changeTo        = "CARDINALITY"
	changeByPercent = "PERCENTAGE_CHANGE"
)

// Adjustments reads a role's policies. An element that is no policy becomes an empty one, which never asks for anything. Policies beyond
// MaxPolicies, which only another writer of the document can have added, are left out.
func Adjustments(text json.RawMessage) []Adjustment {
	elements := raw.Elements(text)
	elements = elements[:min(len(elements), spec.MaxPolicies)]
	policies := make([]Adjustment, len(elements))
	for i, element := range elements {
		given := raw.Attributes(element)
		whole := func(name string) int {
			number, _ := raw.Whole(given[name])
			return number
		}
		policies[i] = Adjustment{
			Type: raw.Text(given["type"]), Adjust: whole("adjust"), MinAdjustStep: whole("min_adjust_step"),
			LastEval: int64(whole("last_eval")), Expression: raw.Text(given["expression"]), Evaluated: raw.Text(given["expression_evaluated"]),
			Period: whole("period"), PeriodNumber: whole("period_number"), TrueEvals: whole("true_evals"),
			Recurrence: raw.Text(given["recurrence"]), StartTime: given["start_time"],
		}
		if cooldown, has := raw.Whole(given["cooldown"]); has {
			policies[i].Cooldown = &cooldown
		}
	}
	return policies
}

// With returns a role's policies, with attributes set in those at the indexes.
func With(text json.RawMessage, indexes []int, set map[string]any) json.RawMessage {
	return raw.Changed(text, func(i int, policy raw.Object) bool {
		for name, value := range set {
			policy[name] = raw.Marshal(value)
		}
		return slices.Contains(indexes, i)
	})
}

// ForgetTrueEvals resets the counters of the role's elasticity policies, as OneFlow does when a role begins to scale.
func ForgetTrueEvals(role *spec.Role) {
	role.ElasticityPolicies = raw.Changed(role.ElasticityPolicies, func(_ int, policy raw.Object) bool {
		_, counted := policy["true_evals"]
		delete(policy, "true_evals")
		return counted
	})
}

// Cardinality returns the cardinality that the policy asks for, within the role's limits. A role that was forced beyond a limit is not
// taken further out, and comes back by the policy's steps.
func (by Adjustment) Cardinality(role *spec.Role) int {
	wanted := role.Cardinality
	switch by.Type {
	case changeBy:
		wanted += by.Adjust
	case changeTo:
		wanted = by.Adjust
	case changeByPercent:
		part := int(math.Abs(float64(role.Cardinality) * float64(by.Adjust) / 100)) // rounded towards none, but at least one
		switch change := max(1, part, by.MinAdjustStep); {
		case by.Adjust < 0:
			wanted -= change
		case by.Adjust > 0:
			wanted += change
		}
	}
	lowest, highest := 0, max(role.Cardinality, wanted)
	if role.MinVMs != nil {
		lowest = min(*role.MinVMs, role.Cardinality)
	}
	if role.MaxVMs != nil {
		highest = max(*role.MaxVMs, role.Cardinality)
	}
	return max(0, lowest, min(wanted, highest, max(role.Cardinality, spec.MaxVMs)))
}

// Measures are what was measured of one service's VMs in one pass of the autoscaler.
type Measures struct {
	// At is when the pass ran; policies that were evaluated then, or later, are not evaluated again.
	At time.Time `json:"at"`
	// Until is when the measures are too old to decide by.
	Until time.Time `json:"until"`
	// Roles holds, by role and attribute in upper case, the means over the role's running VMs. An attribute that no VM has is missing.
	Roles map[string]map[string]float64 `json:"roles"`
}

// Sample is one running VM's attributes, by name in upper case. Each value is from the first of these that has it: the user template,
// monitoring, the template, the VM.
type Sample map[string]float64

// MeasuredAttributes returns, by role, the attributes that the elasticity policies of a service refer to, in upper case and each once. It
// returns nil if no policy can be evaluated in the service's state. A role whose policies only compare numbers has an entry without
// attributes. A document that was written past the API may refer to more than MaxMeasured: the rest is not measured.
func MeasuredAttributes(service spec.Service) map[string][]string {
	if state := service.State(); state != spec.ServiceRunning && state != spec.ServiceWarning {
		return nil
	}
	var wanted map[string][]string
	for _, role := range service.Body.Roles {
		var names []string
		evaluated := false
		for _, each := range Adjustments(role.ElasticityPolicies) {
			if condition, err := expression.Parse(each.Expression); err == nil {
				evaluated = true
				names = append(names, condition.Attributes()...)
			}
		}
		if !evaluated {
			continue
		}
		slices.Sort(names)
		names = slices.Compact(names)
		names = names[:min(len(names), spec.MaxMeasured)]
		if wanted == nil {
			wanted = map[string][]string{}
		}
		wanted[role.Name] = names
	}
	return wanted
}

// Measure computes the means of the attributes that the service's policies refer to, over its VMs with samples: the running ones. They are
// rounded to two digits.
func Measure(service spec.Service, samples map[int]Sample, at, until time.Time) Measures {
	measured := Measures{At: at, Until: until, Roles: map[string]map[string]float64{}}
	for role, names := range MeasuredAttributes(service) {
		means, vms := map[string]float64{}, service.RoleNodes(role)
		for _, name := range names {
			total, count := 0.0, 0.0
			for _, vm := range vms {
				if value, has := samples[vm][name]; has {
					total += value
					count++
				}
			}
			if mean := math.Round(total/count*100) / 100; math.Abs(mean) <= maxMean { // and not NaN, the mean of no values
				means[name] = mean
			}
		}
		measured.Roles[role] = means
	}
	return measured
}

// maxMean bounds a mean. A VM's owner may write any figures into its user template: their sum may be infinite, which JSON does not have.
const maxMean = 1e18

// MaxRecurrence is in characters: each decision compares a recurrence with every minute up to its next one.
const MaxRecurrence = 256

// noWeekday matches a recurrence with a weekday that no month has so many of. gronx tries hundreds of years for one.
var noWeekday = regexp.MustCompile(`#[^1-5]`)

// ticks caches the next times of recurrences, zero if none comes: gronx needs milliseconds to find out, and each decision asks for it.
var ticks = struct {
	sync.Mutex
	next map[string]time.Time
}{next: map[string]time.Time{}}

const maxTicks = 4096

// nicknames are cron's names for whole recurrences, which OneFlow accepts too.
var nicknames = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Fields returns the fields of a recurrence, which may be given by its nickname.
func Fields(recurrence string) string { return cmp.Or(nicknames[recurrence], recurrence) }

// wholeStep matches a step through all values of a field.
var wholeStep = regexp.MustCompile(`(^|,)\*/`)

// eitherDay returns the fields so that gronx finds the days that OneFlow does: those of the month and the weekdays, unless one of the two
// fields is just *. gronx wants both for a step through all values.
func eitherDay(fields string) string {
	each := strings.Fields(fields)
	if len(each) == 5 {
		each[2] = wholeStep.ReplaceAllString(each[2], "${1}1-31/")
		each[4] = wholeStep.ReplaceAllString(each[4], "${1}0-6/")
	}
	return strings.Join(each, " ")
}

// NextStart returns the policy's first start after its last evaluation; false if there is none. Times without a zone are the server's, as
// are cron's: now carries it.
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
	next, known := ticks.next[key]
	ticks.Unlock()
	if known {
		return next, !next.IsZero()
	}
	next, err := gronx.NextTickAfter(eitherDay(Fields(by.Recurrence)), last, false)
	if err != nil {
		next = time.Time{}
	}
	ticks.Lock()
	defer ticks.Unlock()
	if len(ticks.next) >= maxTicks {
		clear(ticks.next)
	}
	ticks.next[key] = next
	return next, err == nil
}

// ElasticityFault returns why an elasticity policy never changes its role; empty if it can. The API refuses most such policies, but other
// programs can write them.
func (by Adjustment) ElasticityFault() string {
	if _, err := expression.Parse(by.Expression); err != nil {
		return fmt.Sprintf("its expression %q cannot be read: %v", raw.Shown(by.Expression), err)
	}
	return by.changeFault()
}

// ScheduleFault is ElasticityFault for a scheduled policy, whose times without a zone are in the given one.
func (by Adjustment) ScheduleFault(zone *time.Location) string {
	reference := time.Date(2024, 1, 1, 0, 0, 0, 0, zone)
	_, comes := Adjustment{Recurrence: by.Recurrence, LastEval: reference.Unix()}.NextStart(reference)
	_, err := ParseStartTime(by.StartTime, zone)
	switch {
	case by.Recurrence != "" && !comes:
		return fmt.Sprintf("its recurrence %q cannot be read, or never occurs", raw.Shown(by.Recurrence))
	case by.Recurrence == "" && raw.KindOf(by.StartTime) == raw.KindNull:
		return "it has no start_time, and no recurrence that is a string"
	case by.Recurrence == "" && err != nil:
		return "its start_time " + err.Error()
	}
	return by.changeFault()
}

func (by Adjustment) changeFault() string {
	switch {
	case !slices.Contains([]string{changeBy, changeTo, changeByPercent}, by.Type):
		return fmt.Sprintf("its type %q is not %s, %s or %s", raw.Shown(by.Type), changeBy, changeTo, changeByPercent)
	case by.Adjust == 0 && by.Type != changeTo:
		return "its adjust is 0 or not a whole number"
	}
	return ""
}

// NextSchedule returns when the next scheduled policy of the service is due.
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

// Overdue reports whether an idle service should have done something by now: it missed a schedule, or a role has stayed below its minimum.
// Its timer has been lost, or another server has left it so.
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

// startTimeLayouts are the accepted forms of a time. Without a zone it is in the server's, as in OneFlow.
var startTimeLayouts = []string{
	time.RFC3339Nano, "2006-1-2 15:4:5 -0700", "2006-1-2 15:4:5 MST", "2006-1-2 15:4:5", "2006-1-2T15:4:5",
	"2006-1-2 15:4", "2006-1-2", time.RFC1123Z, time.RFC1123, time.ANSIC, time.UnixDate, "2006-1-2 15:4:5 -07:00", "2006-1-2 15:4:5Z07:00",
	"2006-1-2 15:4 MST", "2006-1-2 15:4 -0700", "2006-1-2T15:4Z07:00", "2006-1-2T15:4", "2006/1/2 15:4:5", "2006/1/2 15:4", "2006/1/2",
}

// writtenDate is a date whose month is written, as in "2nd October 2017 15:45" of OneFlow's documentation.
var writtenDate = regexp.MustCompile(`(?i)^(?:(\d\d?)(?:st|nd|rd|th)?[ -]([a-z]{3})[a-z]*|([a-z]{3})[a-z]* (\d\d?)(?:st|nd|rd|th)?),?[ -](\d{4}),?`)

// latestStart bounds a start_time: later ones cannot be written in RFC 3339 in every zone.
var latestStart = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// ParseStartTime parses a scheduled policy's start_time: unix seconds as a number or a text, or a date with time such as "2030-01-31
// 09:00:00", which without a zone of its own is in the given one.
func ParseStartTime(value json.RawMessage, zone *time.Location) (time.Time, error) {
	text := string(value)
	_ = json.Unmarshal(value, &text) // a number is no text
	if seconds, err := strconv.ParseUint(text, 10, 62); err == nil && int64(seconds) < latestStart.Unix() {
		return time.Unix(int64(seconds), 0).In(zone), nil
	}
	text = strings.TrimSpace(text) // of a date only, as OneFlow does
	if part := writtenDate.FindStringSubmatch(text); part != nil {
		if date, err := time.Parse("2Jan2006", part[1]+part[4]+part[2]+part[3]+part[5]); err == nil {
			text = date.Format(time.DateOnly) + text[len(part[0]):]
		}
	}
	for _, layout := range startTimeLayouts {
		if start, err := time.ParseInLocation(layout, text, zone); err == nil && start.Before(latestStart) {
			return start, nil
		}
	}
	return time.Time{}, fmt.Errorf("is %s, which is not a time such as \"2030-01-31 09:00:00\" or unix seconds", raw.Shown(string(value)))
}
