package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/adhocore/gronx"
	"github.com/go-playground/validator/v10"

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

// rolePolicies carry the rules of policies that concern a single value, as spec.Role does for the role.
type rolePolicies struct {
	Elasticity []elasticityFields `json:"elasticity_policies" validate:"dive"`
	Scheduled  []scheduledFields  `json:"scheduled_policies" validate:"dive"`
	broken     Violations         // for attributes that are no arrays of policies
}

func readPolicies(roles []spec.Role) []rolePolicies {
	all := make([]rolePolicies, len(roles))
	for i, role := range roles {
		read := func(attribute string, text json.RawMessage, into any) {
			if err := json.Unmarshal(text, into); err != nil && len(text) > 0 {
				all[i].broken = append(all[i].broken, Violation{attribute, "is not an array of policies: " + err.Error()})
			}
		}
		read("elasticity_policies", role.ElasticityPolicies, &all[i].Elasticity)
		read("scheduled_policies", role.ScheduledPolicies, &all[i].Scheduled)
	}
	return all
}

// checkPolicies checks the rules for several attributes together, and parses expressions and times.
func checkPolicies(f *findings, path string, policies rolePolicies) {
	for _, broken := range policies.broken {
		f.addWrong(path+"."+broken.Path, broken.Message)
	}
	measured := map[string]bool{}
	for i, given := range policies.Elasticity {
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
	for i, given := range policies.Scheduled {
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

type elasticityFields struct {
	Type          string `json:"type" validate:"required,oneof=CHANGE CARDINALITY PERCENTAGE_CHANGE"`
	Adjust        *int   `json:"adjust" validate:"required"`
	MinAdjustStep *int   `json:"min_adjust_step" validate:"omitempty,gte=1"`
	Expression    string `json:"expression" validate:"required,max=4096"`
	Period        *int   `json:"period" validate:"omitempty,gte=0"`
	PeriodNumber  *int   `json:"period_number" validate:"omitempty,gte=0"`
	Cooldown      *int   `json:"cooldown" validate:"omitempty,gte=0"`
}

type scheduledFields struct {
	Type          string          `json:"type" validate:"required,oneof=CHANGE CARDINALITY PERCENTAGE_CHANGE"`
	Adjust        *int            `json:"adjust" validate:"required"`
	MinAdjustStep *int            `json:"min_adjust_step" validate:"omitempty,gte=1"`
	Recurrence    string          `json:"recurrence" validate:"omitempty,max=256,fivefields"`
	StartTime     json.RawMessage `json:"start_time"`
}

var (
	roleNamePattern = regexp.MustCompile(`^\w+$`)
	fieldRules      = newFieldRules()
)

// shutdownActions are the values of shutdown_action; the last two are what OneFlow before 5.0 called the first two.
var shutdownActions = []string{"terminate", "terminate-hard", "shutdown", "shutdown-hard"}

func newFieldRules() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(field reflect.StructField) string {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		return name
	})
	v.RegisterAlias("shutdown", "oneof="+strings.Join(shutdownActions, " "))
	register(v, "rolename", func(value reflect.Value) bool { return roleNamePattern.MatchString(value.String()) })
	register(v, "bytes", func(value reflect.Value) bool { return len(value.String()) <= spec.MaxName }) // oned counts bytes
	register(v, "present", func(value reflect.Value) bool { return !value.IsNil() })
	register(v, "plain", func(value reflect.Value) bool {
		name := value.String()
		return !strings.Contains(name, "]]>") && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '&' })
	})
	register(v, "bmp", func(value reflect.Value) bool { return !one.BeyondBMP(value.String()) })
	register(v, "fivefields", func(value reflect.Value) bool {
		recurrence := policy.Fields(value.String())
		return len(strings.Fields(recurrence)) == 5 && gronx.IsValid(recurrence)
	})
	return v
}

// register adds a rule. Only an empty or reserved name is refused, so an error here is a programming error that every test run would meet.
func register(v *validator.Validate, name string, holds func(reflect.Value) bool) {
	rule := func(field validator.FieldLevel) bool { return holds(field.Field()) }
	if err := v.RegisterValidation(name, rule, true); err != nil {
		panic("flow: rule " + name + ": " + err.Error())
	}
}

func checkFields(f *findings, body spec.Body, policies []rolePolicies) {
	check := func(path string, of any) {
		wrong, _ := errors.AsType[validator.ValidationErrors](fieldRules.Struct(of))
		for _, field := range wrong {
			_, name, _ := strings.Cut(field.Namespace(), ".")
			f.addWrong(path+name, complaint(field))
		}
	}
	check("", body)
	for i, role := range body.Roles {
		path := fmt.Sprintf("roles[%d].", i)
		check(path, role)
		check(path, policies[i])
	}
}

func complaint(field validator.FieldError) string {
	switch field.Tag() {
	case "required", "present":
		missing := required[field.Field()]
		if field.Field() == "type" && strings.Contains(field.Namespace(), "_policies[") {
			missing = "; it can be CHANGE, CARDINALITY or PERCENTAGE_CHANGE"
		}
		return "is missing" + missing
	case "oneof":
		return fmt.Sprintf("is %q; it can be %s", valueOf(field), raw.Choices(strings.Fields(field.Param())))
	case "shutdown":
		return fmt.Sprintf("is %q; it can be %s", valueOf(field), raw.Choices(shutdownActions))
	case "gte":
		return fmt.Sprintf("is %s; it must be %s or more", valueOf(field), field.Param())
	case "rolename":
		return fmt.Sprintf("is %q; only letters, digits and _ are possible in a role's name", valueOf(field))
	case "plain":
		return fmt.Sprintf("is %q; control characters, <, & and ]]> are not possible in a name", valueOf(field))
	case "bmp":
		return fmt.Sprintf("is %q; emoji and other characters above U+FFFF are not possible in a name", valueOf(field))
	case "fivefields":
		return cronComplaint(valueOf(field))
	case "bytes":
		return fmt.Sprintf("is too long; at most %d bytes are possible", spec.MaxName)
	case "max":
		return fmt.Sprintf("is too long; at most %s are possible", field.Param())
	}
	return "is not valid"
}

func valueOf(field validator.FieldError) string {
	value := field.Value()
	if pointer, isPointer := value.(*int); isPointer && pointer != nil {
		value = *pointer
	}
	return raw.Shown(fmt.Sprint(value))
}

// required says what to write for a missing attribute. A type is a role's.
var required = map[string]string{
	"name":       "; it must be a string",
	"type":       "; it can be vm or vr",
	"roles":      "; it must be an array, which may be empty",
	"adjust":     "; it must be a whole number",
	"expression": "; give a condition such as \"CPU > 80\"",
}

var cronFields = []string{"minute", "hour", "day of the month", "month", "day of the week"}

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
