package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
)

// StreamStatus is one stream.
type StreamStatus struct {
	Name     string     `json:"name"`
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	MaxBytes int64      `json:"max_bytes"`
	Replicas int        `json:"replicas"`
	Last     *time.Time `json:"last,omitempty"`
	// Trouble says what is wrong with it; empty for nothing.
	Trouble string `json:"trouble,omitempty"`
}

func (c collector) streams(ctx context.Context) error {
	c.overview.Streams = []StreamStatus{}
	for _, wanted := range pipeline.Streams(1) {
		if !c.core.Stream(wanted.Name).Bound() {
			continue
		}
		info, err := c.core.Stream(wanted.Name).Info(ctx)
		if err != nil {
			return err
		}
		status := StreamStatus{
			Name: wanted.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
			Replicas: info.Config.Replicas, Trouble: troubleOf(info, wanted),
		}
		if info.State.LastSeq > 0 {
			status.Last = timeOf(info.State.LastTime)
		}
		c.overview.Streams = append(c.overview.Streams, status)
	}
	return nil
}

// troubleOf says what is wrong with a stream: without a leader, with copies that
// are away, or smaller than it is meant to be.
func troubleOf(info *jetstream.StreamInfo, wanted jetstream.StreamConfig) string {
	if cluster := info.Cluster; cluster != nil && info.Config.Replicas > 1 {
		if cluster.Leader == "" {
			return "it has no leader: most of its servers are away"
		}
		for _, peer := range cluster.Replicas {
			if peer.Offline {
				return "its copy on " + peer.Name + " is away"
			}
		}
	}
	has := info.Config
	switch {
	case wanted.MaxBytes > 0 && has.MaxBytes > 0 && has.MaxBytes < wanted.MaxBytes:
		return fmt.Sprintf("it keeps %d MiB where %d are meant: the disk had no room when it was made; `nats stream edit %s --max-bytes %d` gives it more once every server's disk has the room",
			has.MaxBytes>>20, wanted.MaxBytes>>20, has.Name, wanted.MaxBytes)
	case wanted.MaxAge > 0 && has.MaxAge > 0 && has.MaxAge < wanted.MaxAge:
		return fmt.Sprintf("it keeps %s where %s are meant", has.MaxAge, wanted.MaxAge)
	case has.MaxBytes > 0 && info.State.Bytes > uint64(has.MaxBytes)/10*9 && has.Discard == jetstream.DiscardNew:
		return "it is full to nine tenths, and refuses more when it is full"
	}
	return ""
}
