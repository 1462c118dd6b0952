package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// stampKey is where BucketCheckpoint says which zone all of the data belongs to.
const stampKey = "zone"

// stamp is what the data says of itself.
type stamp struct {
	Version int       `json:"v"`
	Zone    int       `json:"zone"`
	Since   time.Time `json:"since"`
}

// CheckZone returns ErrOtherZone where the data is not the configured zone's.
func (p *Pipeline) CheckZone(ctx context.Context) error { return p.checkZone(ctx, RoleReader) }

// checkZone holds the data against the zone, and stamps data that has no zone yet where the
// role may.
func (p *Pipeline) checkZone(ctx context.Context, role Role) error {
	mine := stamp{Version: Version, Zone: p.zone, Since: time.Now().UTC()}
	mayStamp := role == "" || role == RoleAll || role == RoleWorker || role == RoleOperator
	checkpoints := p.core.Bucket(BucketCheckpoint)
	text, revision, err := checkpoints.Get(ctx, stampKey)
	if err == nil && revision == 0 && mayStamp {
		if _, err = checkpoints.Create(ctx, stampKey, Encode(mine)); js.Conflict(err) {
			text, _, err = checkpoints.Get(ctx, stampKey)
		}
	}
	if err != nil {
		return fmt.Errorf("read the zone of the data: %w", err)
	}
	if len(text) == 0 {
		return nil
	}
	var held stamp
	if err := json.Unmarshal(text, &held); err != nil {
		return fmt.Errorf("read the zone of the data: the stamp cannot be read: %w; delete the key %s of %s to recreate it", err, stampKey, BucketCheckpoint)
	}
	if held.Zone != p.zone {
		return fmt.Errorf("%w: it belongs to zone %d, but --zone is %d; set the right zone, or another data folder or NATS account", ErrOtherZone, held.Zone, p.zone)
	}
	return nil
}
