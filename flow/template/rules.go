package template

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/adhocore/gronx"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

func checkLimits(f *findings, path string, role spec.Role) {
	if role.MinVMs != nil && role.MaxVMs != nil && *role.MinVMs > *role.MaxVMs {
		f.add(path+".min_vms", "is %d, more than max_vms %d", *role.MinVMs, *role.MaxVMs)
		return
	}
	if role.MinVMs != nil && role.Cardinality < *role.MinVMs {
		f.add(path+".cardinality", "is %d, less than min_vms %d", role.Cardinality, *role.MinVMs)
	}
	if role.MaxVMs != nil && role.Cardinality > *role.MaxVMs {
		f.add(path+".cardinality", "is %d, more than max_vms %d", role.Cardinality, *role.MaxVMs)
	}
	policies := len(raw.Elements(role.ElasticityPolicies)) + len(raw.Elements(role.ScheduledPolicies))
	if policies > 0 && (role.MinVMs == nil || role.MaxVMs == nil) {
		f.add(path, "has policies, so it needs both min_vms and max_vms")
	}
}

// checkRouter checks the rule for virtual routers of several VMs: they share their networks through a floating IP.
func checkRouter(f *findings, path string, role spec.Role) {
	if role.Type != spec.RoleTypeVR || role.Cardinality < 2 {
		return
	}
	var contents struct{ NIC json.RawMessage }
	if json.Unmarshal(role.TemplateContents, &contents) != nil || len(contents.NIC) == 0 {
		return
	}
	nics := raw.List(contents.NIC)
	hasFloatingIP := func(text json.RawMessage) bool { // or is unreadable, which oned reports
		var nic struct {
			FloatingIP string `json:"FLOATING_IP"`
		}
		return json.Unmarshal(text, &nic) != nil || strings.EqualFold(nic.FloatingIP, "yes")
	}
	if len(nics) == 0 || slices.ContainsFunc(nics, hasFloatingIP) {
		return
	}
	f.add(path+".template_contents", "has NICs and none with FLOATING_IP = \"yes\"; a virtual router of %d VMs needs one", role.Cardinality)
}

// checkParents finds parents that do not exist, roles that are their own parent, and circles of roles that would wait for each other for
// ever.
func checkParents(f *findings, roles []spec.Role) {
	byName := map[string]int{}
	for i, role := range roles {
		byName[role.Name] = i
	}
	for i, role := range roles {
		for _, parent := range role.Parents {
			if parent == role.Name {
				f.add(rolePathOf(i, "parents"), "is the role itself: a role cannot be its own parent")
			} else if _, exists := byName[parent]; !exists {
				f.add(rolePathOf(i, "parents"), "has %q, which is not a role of this service", raw.Shown(parent))
			}
		}
	}
	for _, circle := range circles(roles, byName) {
		var names []string
		for _, role := range append(circle, circle[0]) {
			names = append(names, roles[role].Name)
		}
		if len(names) > maxCircleNames {
			names = append(names[:maxCircleNames:maxCircleNames], "...", roles[circle[0]].Name)
		}
		f.add(rolePathOf(circle[0], "parents"), "is part of a cycle: %s wait for each other", strings.Join(names, " -> "))
	}
}

// maxCircles bounds how many circles are reported: each can have every role, and names maxCircleNames.
const (
	maxCircles     = 10
	maxCircleNames = 20
)

// circles finds circles of roles that wait for each other, as indexes of roles: at least
// one if there is any, and at most maxCircles. Roles that are their own parent are left out.
func circles(roles []spec.Role, byName map[string]int) [][]int {
	const unvisited, open, closed = 0, 1, 2
	state := make([]int, len(roles))
	var path []int
	var found [][]int
	var visit func(role int)
	visit = func(role int) {
		state[role] = open
		path = append(path, role)
		for _, name := range roles[role].Parents {
			parent, exists := byName[name]
			switch {
			case !exists || parent == role:
			case state[parent] == unvisited:
				visit(parent)
			case state[parent] == open && len(found) < maxCircles:
				found = append(found, slices.Clone(path[slices.Index(path, parent):]))
			}
		}
		path = path[:len(path)-1]
		state[role] = closed
	}
	for role := range roles {
		if state[role] == unvisited {
			visit(role)
		}
	}
	return found
}

type rolePolicies struct {
	elasticity []elasticityFields
	scheduled  []scheduledFields
	broken     Violations // for attributes that are no arrays of policies
}

func readPolicies(roles []spec.Role) []rolePolicies {
	all := make([]rolePolicies, len(roles))
	for i, role := range roles {
		read := func(attribute string, text json.RawMessage, into any) {
			if err := json.Unmarshal(text, into); err != nil && len(text) > 0 {
				all[i].broken = append(all[i].broken, Violation{attribute, "is not an array of policies: " + err.Error()})
			}
		}
		read("elasticity_policies", role.ElasticityPolicies, &all[i].elasticity)
		read("scheduled_policies", role.ScheduledPolicies, &all[i].scheduled)
	}
	return all
}

// checkPolicies checks the rules for several attributes together, and parses expressions and times.
func checkPolicies(f *findings, path string, policies rolePolicies) {
	for _, broken := range policies.broken {
		f.addWrong(path+"."+broken.Path, broken.Message)
	}
	measured := map[string]bool{}
	for i, given := range policies.elasticity {
		condition, err := expression.Parse(given.Expression)
		switch {
		case given.Expression == "":
			continue
		case err != nil:
			f.add(fmt.Sprintf("%s.elasticity_policies[%d].expression", path, i), "%q cannot be read: %v", raw.Shown(given.Expression), err)
			continue
		}
		for _, name := range condition.Attributes() {
			measured[name] = true
		}
	}
	if len(measured) > spec.MaxMeasured {
		f.add(path+".elasticity_policies", "have expressions with %d attributes; at most %d are possible", len(measured), spec.MaxMeasured)
	}
	for i, given := range policies.scheduled {
		path := fmt.Sprintf("%s.scheduled_policies[%d]", path, i)
		_, err := policy.ParseStartTime(given.StartTime, time.UTC)
		reference := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		by := policy.Adjustment{Recurrence: given.Recurrence, LastEval: reference.Unix()}
		once, again := raw.KindOf(given.StartTime) != raw.KindNull, given.Recurrence != ""
		switch {
		case once == again:
			f.add(path, "needs either \"start_time\" or \"recurrence\", and not both")
		case once && err != nil:
			f.add(path+".start_time", "%v", err)
		case again && !f.hides(path+".recurrence"):
			if _, comes := by.NextStart(reference); !comes {
				f.add(path+".recurrence", "is %q, which never occurs: there is no such date", given.Recurrence)
			}
		}
	}
}

// elasticityFields and scheduledFields are the policies of a template.
type elasticityFields struct {
	Type          string `json:"type"`
	Adjust        *int   `json:"adjust"`
	MinAdjustStep *int   `json:"min_adjust_step"`
	Expression    string `json:"expression"`
	Period        *int   `json:"period"`
	PeriodNumber  *int   `json:"period_number"`
	Cooldown      *int   `json:"cooldown"`
}

type scheduledFields struct {
	Type          string          `json:"type"`
	Adjust        *int            `json:"adjust"`
	MinAdjustStep *int            `json:"min_adjust_step"`
	Recurrence    string          `json:"recurrence"`
	StartTime     json.RawMessage `json:"start_time"`
}

var roleName = regexp.MustCompile(`^\w+$`)

var policyTypes = []string{"CHANGE", "CARDINALITY", "PERCENTAGE_CHANGE"}

// shutdownActions are the values of shutdown_action; the last two are what OneFlow before 5.0 called the first two.
var shutdownActions = []string{"terminate", "terminate-hard", "shutdown", "shutdown-hard"}

// checkFields checks the rules that concern a single value. Of those that a value breaks the first is reported.
func checkFields(f *findings, body spec.Body, policies []rolePolicies) {
	f.addWrong("name", cmp.Or(missing(body.Name, "it must be a string"), tooLong(body.Name, spec.MaxName), wrongName(body.Name)))
	f.addWrong("deployment", notOneOf(body.Deployment, []string{"none", spec.DeploymentStraight}))
	f.addWrong("shutdown_action", notOneOf(body.ShutdownAction, shutdownActions))
	switch {
	case body.Roles == nil:
		f.add("roles", "is missing; it must be an array, which may be empty")
	case len(body.Roles) > spec.MaxRoles:
		f.add("roles", "is too long; at most %d are possible", spec.MaxRoles)
		return
	}
	for i, role := range body.Roles {
		at := prefixed(f, "roles[%d].", i)
		at("name", cmp.Or(missing(role.Name, "it must be a string"), tooLong(role.Name, spec.MaxName), wrongRoleName(role.Name)))
		at("type", cmp.Or(missing(role.Type, "it can be vm or vr"), notOneOf(role.Type, []string{spec.RoleTypeVM, spec.RoleTypeVR})))
		at("cardinality", below(&role.Cardinality, 0))
		at("template_id", below(&role.TemplateID, 0))
		at("shutdown_action", notOneOf(role.ShutdownAction, shutdownActions))
		at("min_vms", below(role.MinVMs, 0))
		at("max_vms", below(role.MaxVMs, 0))
		at("cooldown", below(role.Cooldown, 0))
		for j, given := range policies[i].elasticity {
			at := prefixed(f, "roles[%d].elasticity_policies[%d].", i, j)
			checkChange(at, given.Type, given.Adjust, given.MinAdjustStep)
			at("expression", cmp.Or(missing(given.Expression, `give a condition such as "CPU > 80"`), tooLong(given.Expression, expression.MaxLength)))
			at("period", below(given.Period, 0))
			at("period_number", below(given.PeriodNumber, 0))
			at("cooldown", below(given.Cooldown, 0))
		}
		for j, given := range policies[i].scheduled {
			at := prefixed(f, "roles[%d].scheduled_policies[%d].", i, j)
			checkChange(at, given.Type, given.Adjust, given.MinAdjustStep)
			at("recurrence", wrongRecurrence(given.Recurrence))
		}
	}
}

// prefixed returns addWrong for the attributes of an object.
func prefixed(f *findings, object string, indexes ...any) func(attribute, wrong string) {
	object = fmt.Sprintf(object, indexes...)
	return func(attribute, wrong string) { f.addWrong(object+attribute, wrong) }
}

func checkChange(at func(attribute, wrong string), kind string, adjust, step *int) {
	at("type", cmp.Or(missing(kind, "it can be "+raw.Choices(policyTypes)), notOneOf(kind, policyTypes)))
	if adjust == nil {
		at("adjust", "is missing; it must be a whole number")
	}
	at("min_adjust_step", below(step, 1))
}

func missing(text, instead string) string {
	if text != "" {
		return ""
	}
	return "is missing; " + instead
}

func tooLong(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return ""
	}
	return fmt.Sprintf("is too long; at most %d are possible", most)
}

// notOneOf is for an attribute that may be left out.
func notOneOf(text string, choices []string) string {
	if text == "" || slices.Contains(choices, text) {
		return ""
	}
	return fmt.Sprintf("is %q; it can be %s", raw.Shown(text), raw.Choices(choices))
}

// below is for a number that may be left out.
func below(number *int, least int) string {
	if number == nil || *number >= least {
		return ""
	}
	return fmt.Sprintf("is %d; it must be %d or more", *number, least)
}

func wrongName(name string) string {
	switch {
	case len(name) > spec.MaxName: // oned counts bytes
		return fmt.Sprintf("is too long; at most %d bytes are possible", spec.MaxName)
	case strings.Contains(name, "]]>"), strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '&' }):
		return fmt.Sprintf("is %q; control characters, <, & and ]]> are not possible in a name", raw.Shown(name))
	case one.BeyondBMP(name):
		return fmt.Sprintf("is %q; emoji and other characters above U+FFFF are not possible in a name", raw.Shown(name))
	}
	return ""
}

func wrongRoleName(name string) string {
	if roleName.MatchString(name) {
		return ""
	}
	return fmt.Sprintf("is %q; only letters, digits and _ are possible in a role's name", raw.Shown(name))
}

var cronFields = []string{"minute", "hour", "day of the month", "month", "day of the week"}

func wrongRecurrence(recurrence string) string {
	if wrong := tooLong(recurrence, policy.MaxRecurrence); wrong != "" { // reading it would take long
		return wrong
	}
	if all := policy.Fields(recurrence); recurrence == "" || len(strings.Fields(all)) == len(cronFields) && gronx.IsValid(all) {
		return ""
	}
	recurrence = raw.Shown(recurrence)
	const example = `a recurrence has five fields, such as "0 9 * * mon,tue"`
	fields := strings.Fields(recurrence)
	if len(fields) != len(cronFields) {
		return fmt.Sprintf("is %q, with %d fields; %s", recurrence, len(fields), example)
	}
	for i, name := range cronFields {
		alone := []string{"*", "*", "*", "*", "*"}
		if alone[i] = fields[i]; !gronx.IsValid(strings.Join(alone, " ")) {
			return fmt.Sprintf("is %q, whose field %d (%s) cannot be %q; %s", recurrence, i+1, name, fields[i], example)
		}
	}
	return fmt.Sprintf("is %q, which cannot be read; %s", recurrence, example)
}
