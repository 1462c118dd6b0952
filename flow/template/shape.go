package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/adhocore/gronx"
	"github.com/go-playground/validator/v10"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// The shapes carry the rules that need to look at one value only.
type bodyShape struct {
	Name           string      `json:"name" validate:"required,max=128,bytes,plain"`
	Deployment     string      `json:"deployment" validate:"omitempty,oneof=none straight"`
	ShutdownAction string      `json:"shutdown_action" validate:"omitempty,shutdown"`
	Roles          []roleShape `json:"roles" validate:"present,max=1024,dive"`
}

type roleShape struct {
	Name           string            `json:"name" validate:"required,max=128,rolename"`
	Type           string            `json:"type" validate:"required,oneof=vm vr"`
	Cardinality    int               `json:"cardinality" validate:"gte=0"`
	TemplateID     int               `json:"template_id" validate:"gte=0"`
	ShutdownAction string            `json:"shutdown_action" validate:"omitempty,shutdown"`
	MinVMs         *int              `json:"min_vms" validate:"omitempty,gte=0"`
	MaxVMs         *int              `json:"max_vms" validate:"omitempty,gte=0"`
	Cooldown       *int              `json:"cooldown" validate:"omitempty,gte=0"`
	Elasticity     []elasticityShape `json:"elasticity_policies" validate:"dive"`
	Scheduled      []scheduledShape  `json:"scheduled_policies" validate:"dive"`
}

type elasticityShape struct {
	Type          string `json:"type" validate:"required,oneof=CHANGE CARDINALITY PERCENTAGE_CHANGE"`
	Adjust        *int   `json:"adjust" validate:"required"`
	MinAdjustStep *int   `json:"min_adjust_step" validate:"omitempty,gte=0"`
	Expression    string `json:"expression" validate:"required,max=4096"`
	Period        *int   `json:"period" validate:"omitempty,gte=0"`
	PeriodNumber  *int   `json:"period_number" validate:"omitempty,gte=0"`
	Cooldown      *int   `json:"cooldown" validate:"omitempty,gte=0"`
}

type scheduledShape struct {
	Type          string          `json:"type" validate:"required,oneof=CHANGE CARDINALITY PERCENTAGE_CHANGE"`
	Adjust        *int            `json:"adjust" validate:"required"`
	MinAdjustStep *int            `json:"min_adjust_step" validate:"omitempty,gte=0"`
	Recurrence    string          `json:"recurrence" validate:"omitempty,max=256,fivefields"`
	StartTime     json.RawMessage `json:"start_time"`
}

var (
	roleNamePattern = regexp.MustCompile(`^\w+$`)
	shapes          = newShapes()
)

// shutdownActions are the values of shutdown_action; the last two are what OneFlow before 5.0 called the first two.
var shutdownActions = []string{"terminate", "terminate-hard", "shutdown", "shutdown-hard"}

func newShapes() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(field reflect.StructField) string { return field.Tag.Get("json") })
	v.RegisterAlias("shutdown", "oneof="+strings.Join(shutdownActions, " "))
	register(v, "rolename", func(value reflect.Value) bool { return roleNamePattern.MatchString(value.String()) })
	register(v, "bytes", func(value reflect.Value) bool { return len(value.String()) <= spec.MaxName }) // which oned counts
	register(v, "present", func(value reflect.Value) bool { return !value.IsNil() })
	register(v, "plain", func(value reflect.Value) bool {
		name := value.String()
		return !strings.Contains(name, "]]>") && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '&' })
	})
	register(v, "fivefields", func(value reflect.Value) bool {
		return len(strings.Fields(value.String())) == 5 && gronx.IsValid(value.String())
	})
	return v
}

// register adds a rule. Only a name that is empty or reserved is refused, so an
// error here is a programming error that every test run would meet.
func register(v *validator.Validate, name string, holds func(reflect.Value) bool) {
	rule := func(field validator.FieldLevel) bool { return holds(field.Field()) }
	if err := v.RegisterValidation(name, rule, true); err != nil {
		panic("flow: rule " + name + ": " + err.Error())
	}
}

// checkShape holds the body against the shapes.
func checkShape(f *findings, body spec.Body, policies []rolePolicies) {
	shape := bodyShape{Name: body.Name, Deployment: body.Deployment, ShutdownAction: body.ShutdownAction}
	if body.Roles != nil {
		shape.Roles = []roleShape{}
	}
	for i, role := range body.Roles {
		shape.Roles = append(shape.Roles, roleShape{
			Name: role.Name, Type: role.Type, Cardinality: role.Cardinality, TemplateID: role.TemplateID,
			ShutdownAction: role.ShutdownAction, MinVMs: role.MinVMs, MaxVMs: role.MaxVMs, Cooldown: role.Cooldown,
			Elasticity: policies[i].elasticity, Scheduled: policies[i].scheduled,
		})
	}
	wrong, _ := errors.AsType[validator.ValidationErrors](shapes.Struct(shape))
	for _, field := range wrong {
		_, path, _ := strings.Cut(field.Namespace(), ".")
		f.addWrong(path, complaint(field))
	}
}

// complaint says in words which rule a value breaks.
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
	case "fivefields":
		return cronComplaint(valueOf(field))
	case "bytes":
		return fmt.Sprintf("is too long; at most %d bytes are possible", spec.MaxName)
	case "max":
		return fmt.Sprintf("is too long; at most %s are possible", field.Param())
	}
	return "is not valid"
}

// valueOf is a field's value for a message.
func valueOf(field validator.FieldError) string {
	value := field.Value()
	if pointer, isPointer := value.(*int); isPointer && pointer != nil {
		value = *pointer
	}
	return raw.Shown(fmt.Sprint(value))
}

// required says what to write where an attribute is missing. A type is a role's.
var required = map[string]string{
	"name":       "; it must be a string",
	"type":       "; it can be vm or vr",
	"roles":      "; it must be an array, which may be empty",
	"adjust":     "; it must be a whole number",
	"expression": "; give a condition such as \"CPU > 80\"",
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
