package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// heardAs is a letter an event, a second each; '-' is a dead letter.
func heardAs(hashes string) []entry {
	var heard []entry
	for i, hash := range hashes {
		e := entry{hash: string(hash), heard: noon.Add(time.Duration(i) * time.Second)}
		if hash == '-' {
			e.hash = ""
		}
		heard = append(heard, e)
	}
	return heard
}

func storedTail(hashes string, first int) []feeds.StoredEvent {
	var stored []feeds.StoredEvent
	for _, e := range heardAs(hashes) {
		stored = append(stored, feeds.StoredEvent{Hash: e.hash, Heard: e.heard.Add(time.Duration(first) * time.Second)})
	}
	return stored
}

func TestPlaceBehindWhatIsStored(t *testing.T) {
	cases := map[string]struct {
		heard, stored string
		first         int // the place of the first stored in what was heard
		place         int
		exact         bool
	}{
		"a new feed":                                  {heard: "abc", place: 0, exact: true},
		"nothing new":                                 {heard: "abc", stored: "abc", place: 3, exact: true},
		"something new":                               {heard: "abcde", stored: "abc", place: 3, exact: true},
		"heard from the middle on":                    {heard: "cde", stored: "abcd", first: -2, place: 2, exact: true},
		"a repetition":                                {heard: "yny", stored: "y", place: 1, exact: true},
		"a repetition, all stored":                    {heard: "yny", stored: "yny", place: 3, exact: true},
		"a repetition with a history":                 {heard: "aybyc", stored: "ayb", place: 3, exact: true},
		"one of many the same":                        {heard: "aaaaaa", stored: "aa", first: 2, place: 4, exact: true},
		"a dead letter between":                       {heard: "a-by-by", stored: "aby", place: 4, exact: true},
		"dead letters are never places":               {heard: "--a", stored: "z", place: 0},
		"the last was not heard here":                 {heard: "abd", stored: "abc", place: 2},
		"none was heard here":                         {heard: "xyz", stored: "abc", place: 0},
		"nothing was heard here":                      {stored: "abc", place: 0},
		"an equal one before, the last not heard":     {heard: "xcdfg", stored: "xcdx", place: 3},
		"an equal one before, and no history in both": {heard: "xfg", stored: "abx", first: -2, place: 1, exact: true},
		"something before was heard here":             {heard: "abxcd", stored: "abc", place: 4, exact: true},
	}
	for name, c := range cases {
		place, exact := resumePosition(heardAs(c.heard), storedTail(c.stored, c.first))
		if place != c.place || exact != c.exact {
			t.Errorf("%s: %d, %t", name, place, exact)
		}
	}
}

// Of a stream with many repetitions, any cut is found again.
func TestEveryPlaceIsFoundAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text := make([]byte, 1+random.IntN(60))
		for i := range text {
			text[i] = 'a' + byte(random.IntN(3))
		}
		cut, from := random.IntN(len(text)), random.IntN(len(text))
		from = min(from, cut)
		stored := storedTail(string(text[:cut+1]), 0)
		place, exact := resumePosition(heardAs(string(text))[from:], stored)
		if place != cut+1-from || !exact {
			t.Fatalf("%s from %d, cut behind %d: %d, %t", text, from, cut, place, exact)
		}
	}
}

// READY=YES, READY=NO and READY=YES are three events, though two are the same.
func TestRealRepetitionsAreStored(t *testing.T) {
	p, publisher := newPipeline(t), newTestPublisher(t, "127.0.0.1:0")
	b := New(quietly("tcp://"+publisher.address()), p, nil)
	startBridge(t, b)
	must(t, publisher.waitForSubscriber(limited(t), b.config.topics()))
	for _, ready := range []string{"YES", "NO", "YES"} {
		publisher.send(readyFrames(7, ready))
	}
	poll.Until(t, "three events", func() bool { return b.Status()[0].Published == 3 })
	if stored := everything(t, p, pipeline.StreamONE); len(stored) != 3 {
		t.Errorf("%d events are stored", len(stored))
	}
}

// readyFrames are what oned publishes when a guest reports READY.
func readyFrames(vm int, ready string) [][]byte {
	parameter := func(position int, value string) string {
		return fmt.Sprintf("<PARAMETER><POSITION>%d</POSITION><TYPE>IN</TYPE><VALUE>%s</VALUE></PARAMETER>", position, value)
	}
	return callFrames("one.vm.update", parameter(1, "****")+parameter(2, fmt.Sprint(vm))+parameter(3, "READY="+ready+"\n")+parameter(4, "1"))
}

func TestWindowOnStandbyKeepsWhatIsYoungAndFits(t *testing.T) {
	w := newReplayBuffer(10*1000, time.Minute, nil)
	old := entry{hash: "old", heard: time.Now().Add(-time.Hour)}
	if _, err := w.add([]entry{old, old}, 2); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		_, _ = w.add([]entry{{hash: fmt.Sprint(i), data: make([]byte, 800), heard: time.Now(), objectID: objectID{objectVM, i}}}, 1)
	}
	if len(w.entries) == 0 || len(w.entries) > 10 || w.bytes > w.limit || w.entries[len(w.entries)-1].hash != "99" {
		t.Errorf("kept %d of %d bytes", len(w.entries), w.bytes)
	}
	if !w.hold([]feeds.StoredEvent{{Hash: "97"}}) {
		t.Error("the place was not found")
	}
	var status FeedStatus
	w.report(&status)
	if status.QueueLength != 2 || !w.awaits(objectID{objectVM, 98}) || w.awaits(objectID{objectVM, 97}) {
		t.Errorf("%+v waits", status)
	}
	w.standBy()
	if w.awaits(objectID{objectVM, 98}) {
		t.Error("a bridge on standby stores nothing")
	}
}

// A bridge that stops while it takes a feed over does not report that as a problem of JetStream's.
func TestStoppingIsNoProblemOfJetStreams(t *testing.T) {
	var log testlog.Log
	store := newFakeStore()
	store.fail = context.Canceled
	config := quietly("tcp://127.0.0.1:1")
	config.Logger = log.Logger()
	f, err := newFeed(newBridge(config, store, nil, nil), config.Endpoints[0])
	must(t, err)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := f.acquire(stopped, fakeWatch{}); !errors.Is(err, context.Canceled) || log.Count("JetStream does not accept events") != 0 {
		t.Errorf("it ends with %v and logs:\n%s", err, log.String())
	}
}
