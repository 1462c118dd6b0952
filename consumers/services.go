package consumers

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

// services are all services: those that oned has documents of.
type services struct {
	oned   *opennebula.Client
	queue  *work.Queue
	logger *slog.Logger
}

// servicesPage is how many services are listed by one call: oned puts an
// answer together as a whole, and with ten VMs a service has 4 KB.
const servicesPage = 500

// each goes through all services, a page at a time and the newest first.
// One that is made or deleted meanwhile may be visited twice or left out. One
// that cannot be read is left out, and so is one whose text skip knows.
func (s *services) each(ctx context.Context, skip func(body []byte) bool, visit func(opennebula.Document, spec.Body) error) error {
	for offset := 0; ; offset += servicesPage {
		documents, err := s.oned.Server().Documents(ctx, spec.DocumentTypeService, allUsers, offset, -servicesPage)
		if err != nil {
			return fmt.Errorf("list the services: %w", err)
		}
		for _, document := range documents {
			if skip != nil && skip(document.Body) {
				continue
			}
			body, _, err := spec.ReadService(document.Body)
			if err != nil {
				s.logger.Warn("a service's document cannot be read and is left alone", "service", document.ID, "error", err)
				continue
			}
			if err := visit(document, body); err != nil {
				return err
			}
		}
		if len(documents) == 0 {
			return nil
		}
	}
}

// wakeAll has every service look at oned.
func (s *services) wakeAll(ctx context.Context, reason string) error {
	err := s.each(ctx, nil, func(document opennebula.Document, _ spec.Body) error { return s.wake(ctx, document.ID, reason) })
	if err != nil {
		return fmt.Errorf("have every service look at oned: %w", err)
	}
	return nil
}

// wake has a service look at oned.
func (s *services) wake(ctx context.Context, service int, reason string) error {
	woken := pipeline.Work{Version: pipeline.Version, Service: service, Reason: reason}
	if _, err := s.queue.PublishWork(ctx, woken, fmt.Sprintf("wake-%d-%d", service, time.Now().UnixNano())); err != nil {
		return fmt.Errorf("wake service %d: %w", service, err)
	}
	return nil
}
