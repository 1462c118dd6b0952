package presence

import (
	"errors"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func process(host string, parts ...string) pipeline.Process {
	return pipeline.Process{Name: host + " " + parts[0], Host: host, Parts: parts, Release: "1"}
}

// names are those of the members, with a ! where one is missing.
func names(members []Member) (all string) {
	for _, m := range members {
		all += m.Name
		if !m.Missing.IsZero() {
			all += "!"
		}
		all += " "
	}
	return all
}

// TestWhoWasThereIsExpected: what is gone is missing until it is back, replaced or forgotten.
func TestWhoWasThereIsExpected(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	one, two, three := process("fe1", "worker"), process("fe2", "worker"), process("fe3", "worker")
	members, changed := merge(nil, []pipeline.Process{one, two, {ID: "older"}}, now)
	if got := names(members); got != "fe1 worker fe2 worker " || !changed {
		t.Errorf("there are %s, %v", got, changed)
	}
	if _, changed = merge(members, []pipeline.Process{two, one}, now); changed {
		t.Error("nothing is new")
	}
	members, changed = merge(members, []pipeline.Process{one}, now)
	if got := names(members); got != "fe1 worker fe2 worker! " || !changed || !members[1].Missing.Equal(now) {
		t.Errorf("there are %s, %v", got, changed)
	}
	if again, changed := merge(members, []pipeline.Process{one}, now.Add(time.Hour)); changed || !again[1].Missing.Equal(now) {
		t.Error("it is missing since it was")
	}
	back, _ := merge(members, []pipeline.Process{one, two}, now)
	replaced, _ := merge(members, []pipeline.Process{one, three}, now)
	other, _ := merge(members, []pipeline.Process{one, process("fe4", "api")}, now)
	late, _ := merge(members, []pipeline.Process{one}, now.Add(8*24*time.Hour))
	for got, want := range map[string]string{
		names(back): "fe1 worker fe2 worker ", names(replaced): "fe1 worker fe3 worker ",
		names(other): "fe1 worker fe2 worker! fe4 api ", names(late): "fe1 worker ",
	} {
		if got != want {
			t.Errorf("there are %s, want %s", got, want)
		}
	}
}

func TestMembersAreKeptAndForgotten(t *testing.T) {
	p, ctx := pipetest.Single(t), pipetest.Limited(t)
	if members, err := Members(ctx, p); err != nil || len(members) > 0 {
		t.Fatalf("there are %v (%v)", members, err)
	}
	members, _ := merge(nil, []pipeline.Process{process("fe1", "api"), process("fe2", "api")}, time.Now())
	pipetest.Must(t, save(ctx, p, members, 0))
	if err := save(ctx, p, members, 0); !js.Conflict(err) {
		t.Errorf("writing over what somebody else has written: %v", err)
	}
	pipetest.Must(t, Forget(ctx, p, "fe1 api"))
	if err := Forget(ctx, p, "fe1 api"); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("forgetting it twice: %v", err)
	}
	if left, err := Members(ctx, p); err != nil || names(left) != "fe2 api " {
		t.Errorf("there are %v (%v)", left, err)
	}
}
