package liveness

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// said is what a member announces.
type said struct {
	Name    string
	Leaving bool
	Load    int
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Those who announce themselves are heard, with what they said last, until they leave or the
// set is stopped; what cannot be read and what is nobody's is passed over.
func TestMembersAreListenedTo(t *testing.T) {
	url := natstest.Server(t)
	conn, other := connect(t, url), connect(t, url)
	s, err := Listen(conn, "beats.*", time.Minute, func(heard said) (string, bool) { return heard.Name, heard.Leaving })
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil { // the server knows of the subscription
		t.Fatal(err)
	}
	say := func(messages ...any) {
		t.Helper()
		for _, message := range messages {
			text, isText := message.(string)
			if !isText {
				encoded, err := json.Marshal(message)
				if err != nil {
					t.Fatal(err)
				}
				text = string(encoded)
			}
			if err := other.Publish("beats.x", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	live := func(want string) {
		t.Helper()
		poll.Until(t, "those who live to be "+want, func() bool {
			heard := s.Live()
			found := ""
			for _, name := range slices.Sorted(maps.Keys(heard)) {
				found += fmt.Sprint(name, heard[name].Load, " ")
			}
			return found == want
		})
	}
	say("", "no JSON", `{"Name":3}`, `[]`, said{Load: 7}, said{Name: "a", Load: 1}, said{Name: "b", Load: 1})
	live("a1 b1 ")
	say(said{Name: "a", Load: 2}, said{Name: "never", Leaving: true})
	live("a2 b1 ")
	say(said{Name: "b", Leaving: true})
	live("a2 ")
	s.Stop()
	say(said{Name: "c", Load: 1})
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	live("a2 ")
}

func TestNobodyIsHeardOverAClosedConnection(t *testing.T) {
	conn := connect(t, natstest.Server(t))
	conn.Close()
	if _, err := Listen(conn, "beats.*", time.Minute, func(said) (string, bool) { return "", false }); err == nil {
		t.Error("a closed connection is listened to")
	}
}
