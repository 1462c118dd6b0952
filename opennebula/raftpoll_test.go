package opennebula

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// polledZone answers for its servers, the first of which leads, each as long after the
// question as it says, or not at all.
type polledZone struct {
	after map[string]time.Duration
	down  bool
}

func (z *polledZone) raftStatus(ctx context.Context, endpoint string) (RaftStatus, error) {
	if z.down {
		return RaftStatus{}, errors.New("no route to host")
	}
	select {
	case <-time.After(z.after[endpoint]):
	case <-ctx.Done():
		return RaftStatus{}, ctx.Err()
	}
	status := RaftStatus{State: RaftFollower, Term: 1, LogTerm: 1}
	if endpoint == "one" {
		status.State = RaftLeader
	}
	return status, nil
}

func (z *polledZone) zoneServers(context.Context, string, int) ([]string, error) { return nil, nil }

// TestServersThatWereAllSilentAreHeardAgain, in whichever order they answer: as long as it is
// not certain who leads, whoever was cut off from all of them waits for more than the first.
func TestServersThatWereAllSilentAreHeardAgain(t *testing.T) {
	servers := []string{"one", "two", "three"}
	for name, after := range map[string]map[string]time.Duration{
		"the leader first":     {"one": time.Millisecond, "two": 5 * time.Millisecond, "three": 9 * time.Millisecond},
		"the leader last":      {"one": 9 * time.Millisecond, "two": time.Millisecond, "three": 5 * time.Millisecond},
		"the followers late":   {"one": time.Millisecond, "two": graceTime + time.Second, "three": graceTime + time.Second},
		"the leader very late": {"one": graceTime + time.Second, "two": time.Millisecond, "three": time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone := &polledZone{after: after}
				poll := &raftPoll{ask: zone, logger: slog.New(slog.DiscardHandler), heard: map[string]bool{}, silent: map[string]int{}}
				poll.round(servers, true)
				zone.down = true
				for range 2 * givenUp {
					poll.round(servers, false)
				}
				zone.down = false
				for began := time.Now(); ; time.Sleep(longPause) {
					found := poll.round(servers, false)
					if _, certain := leading(found, poll.quorum(servers)); certain {
						break
					}
					if time.Since(began) > rollCallEvery+probeTime+longPause {
						t.Fatalf("after %s it is not certain who leads; %d answers were waited for", time.Since(began), len(found))
					}
				}
			})
		})
	}
}

// TestAServerThatIsSlowerThanOthersIsNotSilent: it is not needed, and answers.
func TestAServerThatIsSlowerThanOthersIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		zone := &polledZone{after: map[string]time.Duration{"one": time.Millisecond, "two": time.Millisecond, "three": graceTime / 2}}
		poll := &raftPoll{ask: zone, logger: slog.New(slog.NewTextHandler(&logged, nil)), heard: map[string]bool{}, silent: map[string]int{}}
		for began := time.Now(); time.Since(began) < 10*rollCallEvery; time.Sleep(firstPause) {
			if _, certain := leading(poll.round([]string{"one", "two", "three"}, false), 2); !certain {
				t.Fatal("it is not certain who leads")
			}
		}
		if logged.Len() > 0 {
			t.Errorf("a server that answers within %s is said not to: %s", graceTime/2, logged.String())
		}
	})
}

// TestAServerThatHangsIsNamed although nobody waits for it, and costs little time.
func TestAServerThatHangsIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		zone := &polledZone{after: map[string]time.Duration{"one": time.Millisecond, "two": time.Millisecond, "three": time.Hour}}
		poll := &raftPoll{ask: zone, logger: slog.New(slog.NewTextHandler(&logged, nil)), heard: map[string]bool{}, silent: map[string]int{}}
		var asking time.Duration
		began := time.Now()
		for ; time.Since(began) < 10*rollCallEvery; time.Sleep(firstPause) {
			asked := time.Now()
			poll.round([]string{"one", "two", "three"}, false)
			asking += time.Since(asked)
		}
		if told := strings.Count(logged.String(), "does not answer"); told != 1 {
			t.Errorf("it is named %d times: %s", told, logged.String())
		}
		if most := 11*(graceTime+firstPause) + time.Since(began)/10; asking > most {
			t.Errorf("it cost %s of %s, more than %s", asking, time.Since(began), most)
		}
	})
}
