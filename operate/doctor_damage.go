package operate

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/pipeline/work"
)

// mismatchFor is for how long it is told that data and oned did not belong together.
const mismatchFor = 7 * 24 * time.Hour

// checkDamage holds the stream of work against what has been read of it.
func (d *diagnosis) checkDamage(ctx context.Context, pipe clients) {
	if err := pipe.CheckZone(ctx); err != nil {
		d.add("zone", problem, "set the right zone with --zone or in the configuration; a data folder of another zone belongs there", "%v", err)
	}
	if found, has, err := pipe.LastMismatch(ctx); err != nil {
		d.add("data", problem, "", "cannot check whether NATS's data matches oned: %v", err)
	} else if has && d.now.Sub(found.Found) < mismatchFor {
		d.add("data", warning, "check the services that have changed since then (`flowjet service records`): oned's documents were used, and earlier commands were refused",
			"NATS's data did not match oned at %s: %s", found.Found.Format(time.RFC3339), found.Reason)
	}
	read, last, early, err := work.EndsEarly(ctx, pipe.Pipeline)
	switch {
	case err != nil:
		d.add("damage", problem, "", "cannot check whether stream WORK is complete: %v", err)
	case early:
		d.add("damage", problem, "start a worker: it repairs the stream from oned within seconds and logs it",
			"stream WORK ends at %d, but messages up to %d have been read: its end is lost", last, read)
	}
}
