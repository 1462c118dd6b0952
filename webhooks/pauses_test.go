package webhooks

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// Pauses double with each failure, up to the longest one, and are spread; a receiver that asks for more gets no more than that.
func TestPausesGrow(t *testing.T) {
	w := newWorld(t)
	given := settings(Receiver{Name: "ops", URL: "http://127.0.0.1:1"})
	given.FirstPause, given.LongestPause = time.Minute, time.Hour
	d := New(Config{Settings: given}, w.pipe.Pipeline)
	subject := pipeline.HookSubject("ops", 7)
	l := &loop{Deliverer: d, subject: subject, service: 7}
	for before, test := range map[int]struct{ after, want time.Duration }{
		0: {0, time.Minute}, 1: {0, 2 * time.Minute}, 4: {0, 16 * time.Minute}, 6: {0, time.Hour}, 29: {0, time.Hour}, 28: {0, time.Hour}, 30: {0, time.Hour}, 1000: {0, time.Hour},
		2: {30 * time.Minute, 30 * time.Minute}, 3: {24 * time.Hour, time.Hour}, 5: {time.Second, 32 * time.Minute},
	} {
		delivery := pipeline.Delivery{ID: "7-1", Service: 7, Receiver: "ops", Sequence: 1, Queued: time.Now()}
		began := time.Now()
		told, err := l.failed(t.Context(), delivery, pipeline.Attempts{Sequence: 1, Count: before}, &failure{text: "it is away", after: test.after})
		w.must(err)
		kept, err := w.pipe.LoadAttempts(t.Context(), subject)
		w.must(err)
		pause := kept.Next.Sub(began)
		if kept.Count != before+1 || !began.Add(told).Before(kept.Next.Add(time.Millisecond)) || kept.Error != "it is away" || kept.First.IsZero() || pause < test.want*4/5-time.Second || pause > test.want*6/5+10*time.Second {
			t.Errorf("after %d failures: %+v, a pause of %s, want %s", before+1, kept, pause, test.want)
		}
	}
}
