package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	// Leaderless reports whether most of its servers are away, Away names those that are.
	Leaderless bool     `json:"leaderless,omitempty"`
	Away       []string `json:"away,omitempty"`
}

// ServerStatus is a NATS server that holds copies of streams.
type ServerStatus struct {
	Name string `json:"name"`
	// Away reports whether it is not heard by a stream's leader, Streams how many do not hear it.
	Away    bool `json:"away"`
	Streams int  `json:"streams,omitempty"`
}

// awayAfter is how long a stream's leader may not have heard a server that holds a copy: it
// hears it once a second. The server itself calls one offline after minutes.
const awayAfter = 5 * time.Second

// withServers adds to servers those that hold copies of a stream, by name.
func withServers(servers []ServerStatus, cluster *jetstream.ClusterInfo) []ServerStatus {
	if cluster == nil {
		return servers
	}
	for _, peer := range append(cluster.Replicas, &jetstream.PeerInfo{Name: cluster.Leader}) {
		at := slices.IndexFunc(servers, func(s ServerStatus) bool { return s.Name == peer.Name })
		if at < 0 && peer.Name != "" {
			at = len(servers)
			servers = append(servers, ServerStatus{Name: peer.Name})
		}
		if isAway(peer) {
			servers[at].Away, servers[at].Streams = true, servers[at].Streams+1
		}
	}
	slices.SortFunc(servers, func(a, b ServerStatus) int { return strings.Compare(a.Name, b.Name) })
	return servers
}

func isAway(peer *jetstream.PeerInfo) bool {
	return peer.Name != "" && (peer.Offline || peer.Active > awayAfter)
}

func (c *collector) streams(ctx context.Context) error {
	c.overview.Streams, c.overview.Servers = []StreamStatus{}, []ServerStatus{}
	for _, wanted := range pipeline.Streams(1) {
		if !c.core.Stream(wanted.Name).Bound() {
			continue
		}
		info, err := c.core.Stream(wanted.Name).Info(ctx)
		if err != nil {
			return err
		}
		c.overview.Servers = withServers(c.overview.Servers, info.Cluster)
		status := StreamStatus{
			Name: wanted.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
			Replicas: info.Config.Replicas, Trouble: troubleOf(info, wanted),
		}
		if info.Cluster != nil && info.Config.Replicas > 1 {
			status.Leaderless = info.Cluster.Leader == ""
			for _, peer := range info.Cluster.Replicas {
				if isAway(peer) {
					status.Away = append(status.Away, peer.Name)
				}
			}
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
			return "it has no leader: most of its servers are unreachable"
		}
		for _, peer := range cluster.Replicas {
			if isAway(peer) {
				return "its replica on " + peer.Name + " is unreachable"
			}
		}
	}
	has := info.Config
	switch {
	case wanted.MaxBytes > 0 && has.MaxBytes > 0 && has.MaxBytes < wanted.MaxBytes:
		return fmt.Sprintf("its limit is %d MiB instead of %d: the disk was too small when it was created; when every server's disk has enough space: `nats stream edit %s --max-bytes %d`",
			has.MaxBytes>>20, wanted.MaxBytes>>20, has.Name, wanted.MaxBytes)
	case wanted.MaxAge > 0 && has.MaxAge > 0 && has.MaxAge < wanted.MaxAge:
		return fmt.Sprintf("its max age is %s instead of %s", has.MaxAge, wanted.MaxAge)
	case has.MaxBytes > 0 && info.State.Bytes > uint64(has.MaxBytes)/10*9 && has.Discard == jetstream.DiscardNew:
		return "it is more than 90 % full and refuses messages when it is full"
	}
	return ""
}
