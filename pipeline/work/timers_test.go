package work

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func soon(delay time.Duration) time.Time { return time.Now().Add(delay).UTC().Round(0) }

func TestATimerWakesItsServiceOnItsPartition(t *testing.T) {
	p, ctx := single(t), limited(t)
	const service = 42
	timer := pipeline.Timer{Name: "cooldown", Generation: 7, Due: soon(300 * time.Millisecond)}
	must(t, p.SetTimer(ctx, service, timer))

	reader := readPartition(t, p, pipeline.Partition(service), 0)
	input, err := reader.Next(ctx)
	must(t, err)
	if input.Work.Service != service || input.Work.Timer == nil || *input.Work.Timer != timer {
		t.Fatalf("the timer came as %+v", input.Work)
	}
	if early := time.Until(timer.Due); early > 0 {
		t.Errorf("the timer fired %v early", early)
	}
	stored, err := p.Client.Stream(pipeline.StreamWork).Last(ctx, pipeline.StoredWorkSubject(service))
	must(t, err)
	if stored.Sequence != input.Sequence {
		t.Errorf("stored as %d, read as %d", stored.Sequence, input.Sequence)
	}
	if ttl := stored.Header.Get(headerTTL); ttl != "" {
		t.Errorf("the message that fired keeps Nats-TTL %q and would stay for ever", ttl)
	}
	noMessage(t, p, pipeline.StreamWork, pipeline.TimerSubject(service, "cooldown"))
}

func TestATimerSetAgainFiresOnceAndAsSetLast(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 1, Due: soon(time.Hour)}))
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 2, Due: soon(300 * time.Millisecond)}))
	input, err := readPartition(t, p, pipeline.Partition(5), 0).Next(ctx)
	must(t, err)
	if input.Work.Timer.Generation != 2 {
		t.Errorf("generation %d fired, wanted 2", input.Work.Timer.Generation)
	}
	noMessage(t, p, pipeline.StreamWork, pipeline.TimerSubject(5, "look"))
}

func TestACancelledTimerDoesNotFire(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 1, Due: soon(time.Hour)}))
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "later", Generation: 2, Due: soon(300 * time.Millisecond)}))
	must(t, p.CancelTimer(ctx, 5, "look"))
	must(t, p.CancelTimer(ctx, 5, "never-set"))
	noMessage(t, p, pipeline.StreamWork, pipeline.TimerSubject(5, "look"))
	reader := readPartition(t, p, pipeline.Partition(5), 0)
	input, err := reader.Next(ctx)
	must(t, err)
	if input.Work.Timer.Name != "later" {
		t.Fatalf("%s fired", input.Work.Timer.Name)
	}
}

func TestAnOverdueTimerFiresAtOnce(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 1, Due: soon(-time.Hour)}))
	_, err := readPartition(t, p, pipeline.Partition(5), 0).Next(ctx)
	must(t, err)
}

func TestATimerOutlivesARestartOfTheServer(t *testing.T) {
	node := natstest.NewNode(t)
	p, ctx := open(t, node.URL()), limited(t)
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 4, Due: soon(600 * time.Millisecond)}))
	node.Stop()
	node.Start()
	input, err := readPartition(t, p, pipeline.Partition(5), 0).Next(ctx)
	must(t, err)
	if input.Work.Timer == nil || input.Work.Timer.Generation != 4 {
		t.Fatalf("got %+v", input.Work)
	}
}

func TestATimerFiresOnThreeReplicas(t *testing.T) {
	p, ctx := open(t, natstest.Cluster(t, 3).URL(), replicas(3)), limited(t)
	must(t, p.SetTimer(ctx, 5, pipeline.Timer{Name: "look", Generation: 4, Due: soon(300 * time.Millisecond)}))
	input, err := readPartition(t, p, pipeline.Partition(5), 0).Next(ctx)
	must(t, err)
	if input.Work.Timer == nil || input.Work.Timer.Generation != 4 {
		t.Fatalf("got %+v", input.Work)
	}
}

// The stream's transform is the only one who decides on partitions; readers
// and timers rely on computing the same.
func TestPartitionIsWhatTheServerComputes(t *testing.T) {
	p, ctx := single(t), limited(t)
	wakes := make([]pipeline.Wake, 5001)
	for service := range wakes {
		wakes[service] = pipeline.Wake{Work: pipeline.Work{Service: service}, MessageID: fmt.Sprint(service)}
	}
	must(t, p.PublishWakes(ctx, wakes, nil))
	info, err := p.Client.Stream(pipeline.StreamWork).Info(ctx, jetstream.WithSubjectFilter("flow.>"))
	must(t, err)
	if len(info.State.Subjects) != 5001 {
		t.Fatalf("%d subjects", len(info.State.Subjects))
	}
	for service := range 5001 {
		if info.State.Subjects[pipeline.StoredWorkSubject(service)] != 1 {
			t.Fatalf("service %d is not on %s", service, pipeline.StoredWorkSubject(service))
		}
	}
}

func readPartition(t testing.TB, p clients, partition int, after uint64) *PartitionReader {
	t.Helper()
	reader, err := p.ReadPartition(limited(t), partition, after)
	must(t, err)
	t.Cleanup(reader.Stop)
	return reader
}

// noMessage waits until the stream has nothing on the subject.
func noMessage(t testing.TB, p clients, stream, subject string) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("no message on %s", subject), func() bool {
		message, err := p.Client.Stream(stream).Last(context.Background(), subject)
		return err == nil && message == nil
	})
}
