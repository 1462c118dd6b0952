package operate

import (
	"context"

	"github.com/flowjet/flowjet/pipeline/work"
)

// checkDamage holds the stream of work against what has been read of it.
func (d *diagnosis) checkDamage(ctx context.Context, pipe clients) {
	if err := pipe.CheckZone(ctx); err != nil {
		d.add("zone", problem, "name the right zone with --zone or in the configuration; a data folder of another zone has to be put back there", "%v", err)
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
