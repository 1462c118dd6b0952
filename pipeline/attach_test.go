package pipeline

import (
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
)

func TestAttachMakesNothing(t *testing.T) {
	node, ctx := natstest.NewNode(t), limited(t)
	for range 2 {
		p, missing, err := Attach(ctx, Config{URL: node.URL()})
		must(t, err)
		if len(missing) != len(allStreams()) || !slices.Contains(missing, StreamFlow) {
			t.Errorf("on a bare server %v are missing", missing)
		}
		survey, err := p.TakeSurvey(ctx, missing)
		must(t, err)
		if len(survey.Workers) != 0 || len(survey.Unowned) != len(Keys()) || len(survey.Streams) != 0 {
			t.Errorf("a bare server shows %+v", survey)
		}
		p.Close()
	}
}

func TestSurveyAndWhyTellWhatWaits(t *testing.T) {
	p, ctx := single(t), limited(t)
	state := flow.ServiceWarning
	record := Record{State: flow.State{Service: flow.Service{ID: 42, Body: flow.Body{Name: "a", State: &state}}}}
	_, err := p.SaveRecord(ctx, 42, record, 0)
	must(t, err)
	_, err = p.PublishWork(ctx, Work{Service: 42, Reason: "a test"}, "")
	must(t, err)
	must(t, p.Bury(ctx, Letter{Where: "worker", Reason: "it failed", Data: Encode(Work{Version: 1, Service: 42}), Origin: WorkSubject(42)}))
	why, err := p.Why(ctx, 42)
	must(t, err)
	if why.State != "WARNING" || why.Backlog.Count != 1 || why.Backlog.Oldest == nil || why.DeadLetters != 1 || len(why.Next) < 2 {
		t.Errorf("why says %+v", why)
	}
	survey, err := p.TakeSurvey(ctx, nil)
	must(t, err)
	if survey.Services["WARNING"] != 1 || survey.DeadLetters["worker"] != 1 {
		t.Errorf("the survey says %+v", survey)
	}
	reader := slices.IndexFunc(survey.Readers, func(r ReaderStanding) bool { return r.Reader == PartitionKey(Partition(42)) })
	if reader < 0 || survey.Readers[reader].Lag != 1 {
		t.Errorf("the readers are %+v", survey.Readers)
	}
	letters, err := p.DeadLetters(ctx, 10)
	must(t, err)
	must(t, p.RetryLetter(ctx, letters[0]))
	if why, err = p.Why(ctx, 42); err != nil || why.Backlog.Count != 2 || why.DeadLetters != 0 {
		t.Errorf("after the retry why says %+v, %v", why, err)
	}
}
