package app

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/pipeline"
)

// slowRead is how long oned takes for a read of one object when it has to run an auth
// driver first, or cannot keep up; otherwise it takes some 2 ms.
const slowRead = 150 * time.Millisecond

// readsOfOne are the calls that tell how quickly oned answers: they cost it the same
// whatever it holds.
var readsOfOne = []string{"one.document.info", "one.vm.info", "one.user.info", "one.vn.info"}

// onedReads counts reads of one object in the last minute, in pieces of ten seconds.
type onedReads struct {
	slow prometheus.Counter

	mutex  sync.Mutex
	pieces [6]readsPiece
}

type readsPiece struct {
	number int64
	pipeline.OnedReads
}

const pieceLength = 10 // seconds

// measure registers what calls to oned take, and returns the function that notes each.
func (r *onedReads) measure(metrics prometheus.Registerer) func(method string, took time.Duration) {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flowjet_oned_call_seconds",
		Help:    "Duration of calls to oned, without the wait for a connection, by method.",
		Buckets: []float64{0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30},
	}, []string{"method"})
	r.slow = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flowjet_oned_slow_reads_total",
		Help: "Reads of one object that took more than 150 ms instead of about 2 ms: sessions invalidate each other at oned, or oned is overloaded.",
	})
	metrics.MustRegister(calls, r.slow)
	return func(method string, took time.Duration) {
		calls.WithLabelValues(method).Observe(took.Seconds())
		if slices.Contains(readsOfOne, method) {
			r.note(took, time.Now())
		}
	}
}

func (r *onedReads) note(took time.Duration, now time.Time) {
	if took > slowRead {
		r.slow.Inc()
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	number := now.Unix() / pieceLength
	piece := &r.pieces[number%int64(len(r.pieces))]
	if piece.number != number {
		*piece = readsPiece{number: number}
	}
	piece.Reads++
	if took > slowRead {
		piece.Slow++
	}
}

func (r *onedReads) lastMinute(now time.Time) (sum pipeline.OnedReads) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	oldest := now.Unix()/pieceLength - int64(len(r.pieces)) + 1
	for _, piece := range r.pieces {
		if piece.number >= oldest {
			sum.Reads += piece.Reads
			sum.Slow += piece.Slow
		}
	}
	return sum
}
