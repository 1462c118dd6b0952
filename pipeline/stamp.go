package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stampKey is where BucketCheckpoint says which zone all of the data belongs to.
const stampKey = "zone"

// ErrOtherZone is returned where the data is another zone's: what it holds would be taken for
// this zone's services and VMs, whose ids are the same numbers.
var ErrOtherZone = errors.New("the data is another zone's")

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
	text, err := getText(ctx, p.checkpoints, stampKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) && mayStamp {
		if _, err = p.checkpoints.Create(ctx, stampKey, Encode(mine)); isConflict(err) {
			text, err = getText(ctx, p.checkpoints, stampKey)
		}
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), err == nil && text == "":
		return nil
	case err != nil:
		return fmt.Errorf("ask which zone the data belongs to: %w", err)
	}
	var held stamp
	if err := json.Unmarshal([]byte(text), &held); err != nil {
		return fmt.Errorf("ask which zone the data belongs to: the stamp cannot be read: %w; delete the key %s of %s to have it made anew", err, stampKey, BucketCheckpoint)
	}
	if held.Zone != p.zone {
		return fmt.Errorf("%w: it is zone %d's, and --zone is %d; name the right zone, or another data folder or NATS account", ErrOtherZone, held.Zone, p.zone)
	}
	return nil
}
