package template

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/adhocore/gronx"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

var (
	roleName    = regexp.MustCompile(`^\w+$`)
	policyTypes = []string{"CHANGE", "CARDINALITY", "PERCENTAGE_CHANGE"}
	roleTypes   = []string{spec.RoleTypeVM, spec.RoleTypeVR}
	// shutdownActions are the values of shutdown_action; the last two are what OneFlow before 5.0 called the first two.
	shutdownActions = []string{"terminate", "terminate-hard", "shutdown", "shutdown-hard"}
)

// checkValues holds each value by itself to what it may be.
func checkValues(f *findings, body spec.Body, policies []rolePolicies) {
	unreadable := func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '&' }
	if f.present("name", body.Name, "it must be a string", spec.MaxName) && (strings.ContainsFunc(body.Name, unreadable) || strings.Contains(body.Name, "]]>")) {
		f.add("name", "is %q; control characters, <, & and ]]> are not possible in a name", raw.Shown(body.Name))
	}
	f.choice("deployment", body.Deployment, []string{"none", spec.DeploymentStraight})
	f.choice("shutdown_action", body.ShutdownAction, shutdownActions)
	switch {
	case body.Roles == nil:
		f.add("roles", "is missing; it must be an array, which may be empty")
	case len(body.Roles) > spec.MaxRoles:
		f.add("roles", "is too long; at most %d are possible", spec.MaxRoles)
		return
	}
	for i, role := range body.Roles {
		path := fmt.Sprintf("roles[%d].", i)
		if f.present(path+"name", role.Name, "it must be a string", spec.MaxName) && !roleName.MatchString(role.Name) {
			f.add(path+"name", "is %q; only letters, digits and _ are possible in a role's name", raw.Shown(role.Name))
		}
		f.kind(path+"type", role.Type, roleTypes)
		f.natural(path+"cardinality", &role.Cardinality)
		f.natural(path+"template_id", &role.TemplateID)
		f.choice(path+"shutdown_action", role.ShutdownAction, shutdownActions)
		f.natural(path+"min_vms", role.MinVMs)
		f.natural(path+"max_vms", role.MaxVMs)
		f.natural(path+"cooldown", role.Cooldown)
		for j, given := range policies[i].elasticity {
			path := fmt.Sprintf("%selasticity_policies[%d].", path, j)
			given.check(f, path)
			f.present(path+"expression", given.Expression, `give a condition such as "CPU > 80"`, expression.MaxLength)
			f.natural(path+"period", given.Period)
			f.natural(path+"period_number", given.PeriodNumber)
			f.natural(path+"cooldown", given.Cooldown)
		}
		for j, given := range policies[i].scheduled {
			path := fmt.Sprintf("%sscheduled_policies[%d].", path, j)
			given.check(f, path)
			isCron := len(strings.Fields(given.Recurrence)) == len(cronFields) && gronx.IsValid(given.Recurrence)
			if given.Recurrence != "" && f.present(path+"recurrence", given.Recurrence, "", policy.MaxRecurrence) && !isCron {
				f.addWrong(path+"recurrence", cronComplaint(raw.Shown(given.Recurrence)))
			}
		}
	}
}

func (p policyBasics) check(f *findings, path string) {
	f.kind(path+"type", p.Type, policyTypes)
	if p.Adjust == nil {
		f.add(path+"adjust", "is missing; it must be a whole number")
	}
	f.natural(path+"min_adjust_step", p.MinAdjustStep)
}

// present reports whether a text is there, and not longer than so many characters.
func (f *findings) present(path, value, expected string, most int) bool {
	switch {
	case value == "":
		f.add(path, "is missing; %s", expected)
	case utf8.RuneCountInString(value) > most:
		f.add(path, "is too long; at most %d are possible", most)
	default:
		return true
	}
	return false
}

// choice holds a text, if there is one, to be one of those.
func (f *findings) choice(path, value string, choices []string) {
	if value != "" && !slices.Contains(choices, value) {
		f.add(path, "is %q; it can be %s", raw.Shown(value), raw.Choices(choices))
	}
}

// kind is choice for what has to be there.
func (f *findings) kind(path, value string, choices []string) {
	if f.present(path, value, "it can be "+raw.Choices(choices), math.MaxInt) {
		f.choice(path, value, choices)
	}
}

// natural holds a number, if there is one, to be 0 or more.
func (f *findings) natural(path string, value *int) {
	if value != nil && *value < 0 {
		f.add(path, "is %d; it must be 0 or more", *value)
	}
}

// cronFields are what the fields of a recurrence are called.
var cronFields = []string{"minute", "hour", "day of the month", "month", "day of the week"}

// cronComplaint says which field of a recurrence is wrong.
func cronComplaint(recurrence string) string {
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

// checkLimits holds min_vms <= cardinality <= max_vms.
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
	if (raw.Filled(role.ElasticityPolicies) || raw.Filled(role.ScheduledPolicies)) && (role.MinVMs == nil || role.MaxVMs == nil) {
		f.add(path, "has policies, so it needs both min_vms and max_vms")
	}
}

// checkRouter holds the rule for virtual routers of several VMs: they share their networks through a floating IP.
func checkRouter(f *findings, path string, role spec.Role) {
	if role.Type != spec.RoleTypeVR || role.Cardinality < 2 {
		return
	}
	var contents struct{ NIC json.RawMessage }
	if json.Unmarshal(role.TemplateContents, &contents) != nil || len(contents.NIC) == 0 {
		return
	}
	nics := raw.List(contents.NIC)
	hasFloatingIP := func(text json.RawMessage) bool { // or cannot be read, which oned says
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

// checkParents finds parents that do not exist, roles that are their own
// parent, and circles of roles that would wait for each other for ever.
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

// maxCircles bounds how many circles are looked for: each can have every role, and names maxCircleNames.
const (
	maxCircles     = 10
	maxCircleNames = 20
)

// circles finds circles of roles that wait for each other, as indexes of roles: at least
// one if there is any, and at most maxCircles. Roles that are their own parent are left out.
func circles(roles []spec.Role, byName map[string]int) [][]int {
	const unseen, open, closed = 0, 1, 2
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
			case state[parent] == unseen:
				visit(parent)
			case state[parent] == open && len(found) < maxCircles:
				found = append(found, slices.Clone(path[slices.Index(path, parent):]))
			}
		}
		path = path[:len(path)-1]
		state[role] = closed
	}
	for role := range roles {
		if state[role] == unseen {
			visit(role)
		}
	}
	return found
}

// policyBasics are what both kinds of policy have.
type policyBasics struct {
	Type          string `json:"type"`
	Adjust        *int   `json:"adjust"`
	MinAdjustStep *int   `json:"min_adjust_step"`
}

// rolePolicies are a role's policies as far as the rules know them.
type rolePolicies struct {
	elasticity []struct {
		policyBasics
		Expression   string `json:"expression"`
		Period       *int   `json:"period"`
		PeriodNumber *int   `json:"period_number"`
		Cooldown     *int   `json:"cooldown"`
	}
	scheduled []struct {
		policyBasics
		Recurrence string          `json:"recurrence"`
		StartTime  json.RawMessage `json:"start_time"`
	}
	broken []string // attributes that are no arrays of policies
}

// readPolicies reads every role's policies.
func readPolicies(roles []spec.Role) []rolePolicies {
	all := make([]rolePolicies, len(roles))
	for i, role := range roles {
		if json.Unmarshal(role.ElasticityPolicies, &all[i].elasticity) != nil && len(role.ElasticityPolicies) > 0 {
			all[i].broken = append(all[i].broken, "elasticity_policies")
		}
		if json.Unmarshal(role.ScheduledPolicies, &all[i].scheduled) != nil && len(role.ScheduledPolicies) > 0 {
			all[i].broken = append(all[i].broken, "scheduled_policies")
		}
	}
	return all
}

// checkPolicies holds the rules that look at several attributes, and parses.
func checkPolicies(f *findings, path string, policies rolePolicies) {
	for _, attribute := range policies.broken {
		f.add(path+"."+attribute, "is not an array of policies")
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
		once, again := len(given.StartTime) > 0, given.Recurrence != ""
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
