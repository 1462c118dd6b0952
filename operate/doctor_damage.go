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
		d.add("zone", problem, "name the right zone with --zone or in the configuration; a data folder of another zone has to be put back there", "%v", err)
	}
	if found, has, err := pipe.LastMismatch(ctx); err != nil {
		d.add("data", problem, "", "it is not known whether NATS's data and oned belong together: %v", err)
	} else if has && d.now.Sub(found.Found) < mismatchFor {
		d.add("data", warning, "look at the services that have changed since then (`flowjet service records`); oned's documents decided, and commands from before were refused",
			"NATS's data and oned did not belong together at %s: %s", found.Found.Format(time.RFC3339), found.Reason)
	}
	read, last, early, err := work.EndsEarly(ctx, pipe.Pipeline)
	switch {
	case err != nil:
		d.add("damage", problem, "", "it is not known whether stream WORK is whole: %v", err)
	case early:
		d.add("damage", problem, "start a worker: it repairs the stream from oned within seconds, and says so in its log",
			"stream WORK ends at %d, before what has been read of it (%d): it was cut off", last, read)
	}
}
