package routing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline/work"
)

// ClockSkew is how far the clocks of hosts, of NATS and of oned may be apart.
const ClockSkew = time.Minute

// olderData finds services that went on after the data was written: it is an older copy,
// or OneFlow or another Flowjet drove them meanwhile.
type olderData struct {
	written time.Time // when the last record was, as the worker started
	logged  map[int]time.Time
}

// note notes a service that went on since the worker started, which may have been by its hand.
func (o *olderData) note(service int, body spec.Body) {
	if logged := body.LastLogged(); !o.written.IsZero() && logged.After(o.written.Add(ClockSkew)) {
		o.logged[service] = logged
	}
}

// services returns those that went on after their own records were written. A document
// follows its record, so the records are to be read behind the documents. One that cannot
// be read tells nothing.
func (o *olderData) services(ctx context.Context, records *work.Records) (older []int) {
	for service, logged := range o.logged {
		record, revision, err := records.LoadRecord(ctx, service)
		if err == nil && revision > 0 && logged.After(record.Written.Add(ClockSkew)) {
			older = append(older, service)
		}
	}
	slices.Sort(older)
	return older
}

// tell tells of services that are newer than the data, and wakes them.
func (o *olderData) tell(ctx context.Context, r *Router) error {
	services := o.services(ctx, r.pipe.Records)
	if len(services) == 0 || r.saidAge.Swap(true) {
		return nil
	}
	reason := fmt.Sprintf("%d services, such as %d, have changed since the data was last written (%s): it is an older copy, or OneFlow or another Flowjet ran them",
		len(services), services[0], o.written.UTC().Format(time.RFC3339))
	r.config.Logger.Error("NATS's data is older than the services. Their documents at oned are used, earlier commands are refused, "+
		"and no VM is terminated because of NATS's data", "reason", reason)
	if err := r.pipe.NoteMismatch(ctx, reason); err != nil {
		return err
	}
	for _, service := range services {
		if err := r.services.Wake(ctx, service, "the data is older than the service"); err != nil {
			return err
		}
	}
	return nil
}
