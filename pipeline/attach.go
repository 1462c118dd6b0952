package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Attach connects as Open does, but makes and changes nothing: it is for those
// who only look. Missing names the streams and buckets that are not there, without
// which calls that need them fail; on a server where Flowjet has run none is.
func Attach(ctx context.Context, config Config) (p *Pipeline, missing []string, err error) {
	log := config.logger()
	// Who looks wants to hear at once that there is no server, or none that lets him in.
	config.Options = append(slices.Clone(config.Options), nats.RetryOnFailedConnect(false))
	conn, watch, err := connect(ctx, config, log)
	if err != nil {
		return nil, nil, err
	}
	p = newPipeline(config, conn, watch, log)
	if p.js, err = jetstream.New(p.conn); err == nil {
		missing, err = p.find(ctx)
	}
	if err != nil {
		p.Close()
		return nil, nil, fmt.Errorf("look at the streams on %s: %w", p.server(), explain(err))
	}
	return p, missing, nil
}

// find takes the streams and buckets that are there.
func (p *Pipeline) find(ctx context.Context) ([]string, error) {
	var missing []string
	for _, wanted := range append(streams(1), buckets(1)...) {
		err := persist(ctx, func(ctx context.Context) error {
			stream, err := p.js.Stream(ctx, wanted.Name)
			if err == nil {
				p.streams[wanted.Name] = stream
			}
			return err
		})
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			missing = append(missing, wanted.Name)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", wanted.Name, err)
		}
	}
	return missing, p.findBuckets(ctx)
}

func (p *Pipeline) findBuckets(ctx context.Context) error {
	for bucket, place := range p.bucketPlaces() {
		if p.streams[bucketPrefix+bucket] == nil {
			continue
		}
		err := persist(ctx, func(ctx context.Context) (err error) {
			*place, err = p.js.KeyValue(ctx, bucket)
			return err
		})
		if err != nil {
			return fmt.Errorf("bucket %s: %w", bucket, err)
		}
	}
	return nil
}

// bucketPlaces is where each bucket's handle is kept.
func (p *Pipeline) bucketPlaces() map[string]*jetstream.KeyValue {
	return map[string]*jetstream.KeyValue{
		BucketState: &p.state, BucketCheckpoint: &p.checkpoints, BucketOwners: &p.owners, BucketCommands: &p.commands,
		BucketHooks: &p.hooks,
	}
}
