package routing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// sampledAtOnce bounds the VMs that one call of the autoscaler is to cover.
const sampledAtOnce = 1000

// Autoscaler measures the attributes that elasticity policies need. The service's worker decides.
type Autoscaler struct {
	Services *Services
	Interval time.Duration
	// Measured counts the services that were measured.
	Measured prometheus.Counter
}

// Run measures, once an interval, the VMs of all services with elasticity policies, and sends each service its own figures.
//
// A pass belongs to a round, which is a multiple of the interval since 1970. A worker that takes over repeats the round: work that was
// already sent is recognised by its message id.
func (a *Autoscaler) Run(ctx context.Context) error {
	for {
		round := time.Now().Truncate(a.Interval)
		if err := a.measure(ctx, round, round.Add(2*a.Interval)); err != nil && ctx.Err() == nil {
			a.Services.Logger.Warn("the services could not be measured, retrying", "error", err)
		}
		if err := idle.For(ctx, time.Until(round.Add(a.Interval))); err != nil {
			return err
		}
	}
}

// measure makes one pass over all running services with elasticity policies.
func (a *Autoscaler) measure(ctx context.Context, at, until time.Time) error {
	services, asked := map[int]measuredService{}, map[int]bool{}
	unscaled := func(document opennebula.Document) bool { return spec.Unscaled(document.Body) }
	err := a.Services.Each(ctx, unscaled, func(document opennebula.Document, body spec.Body) error {
		service := spec.Service{ID: document.ID, Owner: document.Owner, Body: body}
		names := policy.MeasuredAttributes(service)
		if names == nil {
			return nil
		}
		services[service.ID] = measuredService{service, names, map[int]policy.Sample{}}
		for role := range names {
			for _, vm := range service.RoleNodes(role) {
				asked[vm] = true
			}
		}
		return nil
	})
	if err != nil || len(services) == 0 {
		return err
	}
	var calls [][]int
	for _, span := range opennebula.Spans(slices.Sorted(maps.Keys(asked))) {
		calls = slices.AppendSeq(calls, slices.Chunk(span, sampledAtOnce))
	}
	owners := map[int]int{} // the services of the VMs that are sampled
	samples, err := a.Services.Oned.Server().Samples(ctx, calls, func(vm one.VM) []string {
		owners[vm.ID] = vm.Service
		of := services[vm.Service]
		if !of.service.Owns(vm) {
			return nil // another program wrote it into the document
		}
		return of.names[vm.Role]
	})
	if err != nil {
		return fmt.Errorf("measure the VMs of %d services: %w", len(services), err)
	}
	for vm, sample := range samples {
		services[owners[vm]].samples[vm] = sample
	}
	for id, of := range services {
		work := pipeline.Work{Service: id, Measures: new(policy.Measure(of.service, of.samples, at, until))}
		if _, err := a.Services.Queue.PublishWork(ctx, work, fmt.Sprintf("measures-%d-%d", id, at.UnixMilli())); err != nil {
			return fmt.Errorf("send service %d its measurements: %w", id, err)
		}
		a.Measured.Inc()
	}
	return nil
}

// measuredService is a service, the attributes that its policies refer to, by role, and the samples of its VMs.
type measuredService struct {
	service spec.Service
	names   map[string][]string
	samples map[int]policy.Sample
}
