package routing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Services are all services: those that oned has documents of.
type Services struct {
	Oned   *opennebula.Client
	Queue  *work.Queue
	Logger *slog.Logger
}

// servicesPage is how many services are listed by one call: oned puts an
// answer together as a whole, and with ten VMs a service has 4 KB.
const servicesPage = 500

// Each goes through all services, a page at a time and the newest first. One that is made or
// deleted meanwhile may be visited twice or left out. One that cannot be read, or that skip knows
// by its text, is left out.
func (s *Services) Each(ctx context.Context, skip func(body []byte) bool, visit func(opennebula.Document, spec.Body) error) error {
	return s.Oned.Server().DocumentPages(ctx, spec.DocumentTypeService, opennebula.FilterAll, servicesPage, func(documents []opennebula.Document) error {
		for _, document := range documents {
			if skip != nil && skip(document.Body) {
				continue
			}
			body, _, err := spec.ReadService(document.Body)
			if err != nil {
				s.Logger.Warn("a service's document cannot be read and is left unchanged", "service", document.ID, "error", err)
				continue
			}
			if err := visit(document, body); err != nil {
				return err
			}
		}
		return nil
	})
}

// WakeAll has every service look at oned.
func (s *Services) WakeAll(ctx context.Context, reason string) error {
	err := s.Each(ctx, nil, func(document opennebula.Document, _ spec.Body) error { return s.Wake(ctx, document.ID, reason) })
	if err != nil {
		return fmt.Errorf("wake all services: %w", err)
	}
	return nil
}

// Wake has a service look at oned.
func (s *Services) Wake(ctx context.Context, service int, reason string) error {
	woken := pipeline.Work{Version: pipeline.Version, Service: service, Reason: reason}
	if _, err := s.Queue.PublishWork(ctx, woken, fmt.Sprintf("wake-%d-%d", service, time.Now().UnixNano())); err != nil {
		return fmt.Errorf("wake service %d: %w", service, err)
	}
	return nil
}
