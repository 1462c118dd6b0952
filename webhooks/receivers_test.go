package webhooks

import (
	"net/http"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// attempt makes one attempt at a delivery of service 7 to a receiver of the settings.
func (w *world) attempt(settings Settings, delivery pipeline.Delivery) *failure {
	w.t.Helper()
	d := New(Config{Settings: settings, Version: "1.2"}, w.pipe.Pipeline)
	defer d.client.CloseIdleConnections()
	delivery.ID, delivery.Service = "7-1", 7
	if delivery.Body == nil {
		delivery.Body = []byte(`{}`)
	}
	l := &lane{Deliverer: d, subject: pipeline.HookSubject(delivery.Receiver, 7), service: 7, receiver: delivery.Receiver}
	failed, err := l.attempt(w.t.Context(), delivery, 3)
	w.must(err)
	return failed
}

// However long a receiver asks to be left alone, it is: also where the number is larger than any time.
func TestHowLongAReceiverIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	var retryAfter string
	r := newReceiver(t, func(_ int, out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Retry-After", retryAfter)
		out.WriteHeader(http.StatusTooManyRequests)
	})
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "soon": 0, "30": 30 * time.Second, "86400": 24 * time.Hour,
		"18446744074": 292 * 365 * 24 * time.Hour, "99999999999999999999": 292 * 365 * 24 * time.Hour,
	} {
		retryAfter = text
		failed := w.attempt(settings(Receiver{Name: "ops", URL: r.URL}), pipeline.Delivery{Receiver: "ops"})
		if failed == nil || failed.after < want || want < time.Hour && failed.after > want || failed.text != "429 Too Many Requests" || failed.final {
			t.Errorf("after %q: %+v, want %s", text, failed, want)
		}
	}
}
