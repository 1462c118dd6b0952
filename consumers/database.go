package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// database identifies oned's database by a VM: a database that was restored from a backup, or is another oned's, reuses ids that NATS
// knows; oned's documents decide then. It is checked at the start, whenever oned came back or another server leads, and regularly.
type database struct {
	pipe     *pipeline.Pipeline
	oned     *opennebula.Client
	logger   *slog.Logger
	services *routing.Services
	// highest is the newest VM that oned has reported, 0 for none: a lost VM is looked up among those since.
	highest atomic.Int64

	mutex    sync.Mutex
	life     opennebula.Life // of oned, at the last check
	asked    time.Time
	marked   int // the VM of the mark, as far as known
	restored time.Time
}

// since returns the time from which on records are this database's, and oned's life of which that is true. It checks first if oned came
// back, or has another leader, since the last check.
func (d *database) since(ctx context.Context) (time.Time, opennebula.Life, error) {
	life := d.oned.Life()
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if life == d.life && !d.asked.IsZero() {
		return d.restored, life, nil
	}
	if err := d.check(ctx); err != nil {
		return time.Time{}, opennebula.Life{}, err
	}
	d.life = life
	return d.restored, life, nil
}

// doubtedFor is how long the last check counts in spite of doubt: a oned that is restored within it is noticed only by a call that it
// refuses.
const doubtedFor = time.Second

// doubt checks, unless that was done just now: a document differs from the last saved one.
func (d *database) doubt(ctx context.Context) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if time.Since(d.asked) < doubtedFor {
		return nil
	}
	return d.check(ctx)
}

func (d *database) restoredAt() time.Time {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.restored
}

// markEvery is how far the mark may be behind the newest VM: a restore to a moment after the mark is not detected by it.
const markEvery = 2 * time.Second

// watch checks regularly, and when there are newer VMs, until ctx ends.
func (d *database) watch(ctx context.Context, every time.Duration) {
	for idle.For(ctx, markEvery) == nil {
		d.mutex.Lock()
		var err error
		if d.newest() > d.marked || time.Since(d.asked) >= every {
			err = d.check(ctx)
		}
		d.mutex.Unlock()
		if err != nil && ctx.Err() == nil {
			d.logger.Debug("cannot check whether oned still has the same database, retrying", "error", err)
		}
	}
}

// newest returns the newest VM that oned has reported, -1 for none.
func (d *database) newest() int { return int(cmp.Or(d.highest.Load(), -1)) }

// check compares oned's database with the mark. It is called with the mutex held.
func (d *database) check(ctx context.Context) error {
	mark, marked, err := pipeline.OnedNote.Load(ctx, d.pipe)
	if err != nil {
		return err
	}
	known := max(mark.VM, d.newest()) // read before oned is asked: VMs are made meanwhile
	newest, err := opennebula.NewestVM(ctx, d.oned.Server().Confirmed())
	if err != nil {
		return err
	}
	made, err := d.made(ctx, newest)
	if err != nil {
		return err
	}
	if mark.Restored.After(d.restored) { // another worker found it
		d.restored = mark.Restored
		if !d.asked.IsZero() {
			if err := d.enter(ctx, newest); err != nil {
				return err
			}
		}
	}
	reason := ""
	if !marked.IsZero() {
		if reason, err = d.differs(ctx, mark, known, newest, made); err != nil {
			return err
		}
	}
	if reason != "" {
		d.logger.Error("oned's database is not the one that NATS's data belongs to. The services' documents at oned are used, "+
			"and no VM is terminated because of NATS's data", "reason", reason)
		if err := d.pipe.NoteMismatch(ctx, reason); err != nil {
			return err
		}
		// By NATS's clock, which dates records and commands too: this host's may be wrong.
		found, _, err := d.pipe.LastMismatch(ctx)
		if err != nil {
			return err
		}
		mark.Restored, d.restored = found.Found, found.Found
		if err := d.enter(ctx, newest); err != nil {
			return err
		}
	}
	if reason != "" || newest > mark.VM || marked.IsZero() {
		mark.Version, mark.VM, mark.Made = pipeline.Version, newest, made
		if err := pipeline.OnedNote.Save(ctx, d.pipe, mark); err != nil {
			return err
		}
	}
	d.asked, d.marked = time.Now(), mark.VM
	return nil
}

// differs returns why oned's database is not that of the mark, and of the newest VM that was known before; empty if it is, also if it lacks older
// objects: a server of a zone may lose writes in the middle of its log, and lead.
func (d *database) differs(ctx context.Context, mark pipeline.OnedMark, known, newest int, made string) (string, error) {
	if newest < known {
		switch _, err := d.oned.Server().Confirmed().VM(ctx, known); {
		case errors.Is(err, opennebula.ErrDisagree):
			return "", nil // the leader lacks what the zone has: the services of those VMs wait
		case err != nil && opennebula.Temporary(err):
			return "", fmt.Errorf("read whether oned lost VM %d: %w", known, err)
		}
		return fmt.Sprintf("oned's newest VM is %d, and there was a VM %d: oned was restored from a backup, was replaced, or ended VMs were purged",
			newest, known), nil
	}
	if newest > mark.VM {
		var err error
		if made, err = d.made(ctx, mark.VM); err != nil {
			return "", err
		}
	}
	if made == "" || mark.Made == "" || made == mark.Made {
		return "", nil // a VM that is not there was purged
	}
	return fmt.Sprintf("VM %d is not the VM %d in NATS's data (its STIME is %s, not %s): oned was restored from a backup or was replaced",
		mark.VM, mark.VM, made, mark.Made), nil
}

// made returns the VM's STIME, empty if it does not exist or is unreadable.
func (d *database) made(ctx context.Context, vm int) (string, error) {
	if vm < 0 {
		return "", nil
	}
	tree, err := d.oned.Server().Confirmed().VMTree(ctx, vm)
	if err != nil && opennebula.Temporary(err) && !errors.Is(err, opennebula.ErrDisagree) {
		return "", fmt.Errorf("read the start time of VM %d: %w", vm, err)
	}
	made, _ := tree.Lookup("STIME")
	return made, nil
}

// enter has all VMs compared, and every service checked, after another database was found.
func (d *database) enter(ctx context.Context, newest int) error {
	d.highest.Store(int64(newest))
	if err := d.pipe.SaveCursor(ctx, pipeline.ComparedKey, 1); err != nil {
		return err
	}
	return d.services.WakeAll(ctx, "oned's database was replaced", nil)
}

// raise raises the highest known VM id. It must be from oned: an event may be forged.
func (d *database) raise(id int) {
	for {
		known := d.highest.Load()
		if int64(id) <= known || d.highest.CompareAndSwap(known, int64(id)) {
			return
		}
	}
}

// begin asks oned for the newest VM, so that a VM whose creation got lost need not be looked up among all.
func (d *database) begin(ctx context.Context) {
	ask, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	newest, err := opennebula.NewestVM(ask, d.oned.Server().Confirmed())
	if err == nil {
		d.raise(newest)
		_, _, err = d.since(ask)
	}
	if err != nil && ctx.Err() == nil {
		d.logger.Warn("cannot read the id of the newest VM from oned: lost VMs are looked for among all", "error", err)
	}
}
