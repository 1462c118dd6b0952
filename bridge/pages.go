package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
)

// lastID is the largest id that oned can give.
const lastID = 1<<31 - 1

// newestTwo is an end that asks for a page of the newest two: to oned an end
// below -1 is a page's size.
const newestTwo = -2

// longestThrottle bounds the pause after a call.
const longestThrottle = 2 * time.Second

// throttle is the pause after a call that took so long: a comparison takes at
// most half of oned's time.
func throttle(took time.Duration) time.Duration { return min(took, longestThrottle) }

// newestVM is the highest id of a VM in a state, -1 for none.
func newestVM(ctx context.Context, oned cloud, state int) (int, error) {
	newest, err := oned.VMs(ctx, opennebula.FilterAll, 0, newestTwo, state)
	last := -1
	for _, vm := range newest {
		last = max(last, vm.ID)
	}
	return last, err
}

// pages lists all VMs in a state with ids from start on, in ranges of ids that
// hold about size VMs each, and hands over one range after the other.
func pages(ctx context.Context, oned cloud, start, state, size int, hand func([]one.VM) error) error {
	last, err := newestVM(ctx, oned, state)
	if err != nil {
		return err
	}
	width := size
	for start <= last {
		end := min(start+width-1, last)
		asked := time.Now()
		bound := end
		if end == last {
			bound = -1 // and whatever came since
		}
		vms, err := oned.VMs(ctx, opennebula.FilterAll, start, bound, state)
		switch {
		case errors.Is(err, opennebula.ErrTooLarge) && width > 1:
			width /= 2
			continue
		case err != nil:
			return err
		}
		took := time.Since(asked)
		if err := hand(vms); err != nil {
			return err
		}
		start = end + 1
		width = nextWidth(width, len(vms), size)
		if start <= last {
			if err := idle.For(ctx, throttle(took)); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextWidth is how many ids to ask for next, when so many of the last held VMs.
func nextWidth(width, held, size int) int {
	switch {
	case held > size:
		return max(width/2, 1)
	case held <= size/2:
		return min(2*width, lastID/2)
	}
	return width
}
