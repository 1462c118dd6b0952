package bridge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

// frame is a frame as ZMTP has it on the wire.
func frame(more bool, body []byte) []byte {
	flags := byte(flagLong)
	if more {
		flags |= flagMore
	}
	return append(binary.BigEndian.AppendUint64([]byte{flags}, uint64(len(body))), body...)
}

func shortFrame(more bool, body string) []byte {
	flags := byte(0)
	if more {
		flags = flagMore
	}
	return append([]byte{flags, byte(len(body))}, body...)
}

func greeting() []byte { return bytes.Repeat([]byte{'g'}, greetingSize) }

// readFrames reads what boundedConn lets through, as zmq4 does.
func readFrames(wire []byte) (bodies [][]byte, err error) {
	b := &boundedConn{reader: bufio.NewReaderSize(bytes.NewReader(wire), 16)}
	if _, err := io.ReadFull(b, make([]byte, greetingSize)); err != nil {
		return nil, err
	}
	for {
		var header [9]byte
		if _, err := io.ReadFull(b, header[:]); err != nil {
			return bodies, err
		}
		body := make([]byte, binary.BigEndian.Uint64(header[1:]))
		if _, err := io.ReadFull(b, body); err != nil {
			return bodies, err
		}
		bodies = append(bodies, body)
	}
}

// readMessages reads the same, as a bridge does once hands are shaken.
func readMessages(wire []byte) (bodies [][]byte, err error) {
	c := connection{from: &boundedConn{reader: bufio.NewReaderSize(bytes.NewReader(wire), 16)}, slab: newSlab()}
	if _, err := io.ReadFull(c.from, make([]byte, greetingSize)); err != nil {
		return nil, err
	}
	for {
		message, err := c.read()
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, message.frames...)
	}
}

func TestFramesAreBounded(t *testing.T) {
	large := bytes.Repeat([]byte("x"), maxMessageSize+5000)
	wire := bytes.Join([][]byte{
		greeting(), shortFrame(true, "key"), frame(false, []byte("body")), shortFrame(false, ""),
		frame(true, []byte("key")), frame(true, large), frame(false, []byte("third")),
		shortFrame(true, "next"), shortFrame(false, "one"),
	}, nil)
	want := []string{"key", "body", "", "key", string(large[:maxMessageSize-3]), "", "next", "one"}
	for name, read := range map[string]func([]byte) ([][]byte, error){"zmq4": readFrames, "bridge": readMessages} {
		bodies, err := read(wire)
		if !errors.Is(err, io.EOF) {
			t.Fatal(name, err)
		}
		if len(bodies) != len(want) {
			t.Fatalf("%s: %d frames", name, len(bodies))
		}
		for i := range want {
			if string(bodies[i]) != want[i] {
				t.Errorf("%s: frame %d has %d bytes, want %d", name, i, len(bodies[i]), len(want[i]))
			}
		}
	}
}

// Messages that are waited for keep what they hold while others are read into
// the memory of those that were decoded.
func TestMemoryOfMessagesIsUsedAgainOnlyWhenTheyAreUnderstood(t *testing.T) {
	wire := bytes.NewBuffer(greeting())
	const count = 1000
	for i := range count {
		wire.Write(shortFrame(true, fmt.Sprint("key ", i)))
		wire.Write(frame(false, bytes.Repeat([]byte{byte(i)}, 1000+i)))
	}
	c := connection{from: &boundedConn{reader: bufio.NewReader(wire)}, slab: newSlab()}
	_, err := io.ReadFull(c.from, make([]byte, greetingSize))
	must(t, err)
	var waiting []item
	for i := range count {
		message, err := c.read()
		must(t, err)
		waiting = append(waiting, message)
		if i%3 == 0 {
			continue
		}
		first := waiting[0]
		waiting = waiting[1:]
		number := i - len(waiting)
		if string(first.frames[0]) != fmt.Sprint("key ", number) || !bytes.Equal(first.frames[1], bytes.Repeat([]byte{byte(number)}, 1000+number)) {
			t.Fatalf("message %d is %q of %d bytes", number, first.frames[0], len(first.frames[1]))
		}
		first.slab.release()
	}
}

func TestImpossibleFramesEndTheConnection(t *testing.T) {
	huge := binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<62)
	negative := binary.BigEndian.AppendUint64([]byte{flagLong}, 1<<63+5)
	endless := bytes.Repeat(shortFrame(true, ""), maxFrames+1)
	for name, frames := range map[string][]byte{"huge": huge, "negative": negative, "endless": endless} {
		if _, err := readFrames(append(greeting(), frames...)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := readMessages(append(greeting(), frames...)); !errors.Is(err, errFrame) {
			t.Errorf("%s, as the bridge reads: %v", name, err)
		}
	}
}

func FuzzBoundedConn(f *testing.F) {
	f.Add(append(greeting(), shortFrame(false, "x")...))
	f.Add(append(greeting(), frame(true, []byte("x"))...))
	f.Add(append(greeting(), 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, wire []byte) {
		bodies, err := readFrames(wire)
		if err == nil {
			t.Fatal("it never ends")
		}
		messages, err := readMessages(wire)
		if err == nil {
			t.Fatal("it never ends, as the bridge reads")
		}
		if len(messages) > len(bodies) {
			t.Fatalf("%d frames of %d", len(messages), len(bodies))
		}
		for i := range messages {
			if !bytes.Equal(messages[i], bodies[i]) {
				t.Fatalf("frame %d is %q and %q", i, messages[i], bodies[i])
			}
		}
		for _, body := range bodies {
			if len(body) > maxMessageSize {
				t.Fatalf("%d bytes", len(body))
			}
		}
	})
}

func TestOversizedEventIsADeadLetter(t *testing.T) {
	_, store, publisher := hearing(t)
	huge := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), opennebula.MaxEventSize+4096))
	publisher.send([][]byte{[]byte("EVENT STATE VM/ACTIVE/RUNNING/1 "), []byte(huge)})
	publisher.send(vmFrames(running(2)))
	storesSoon(t, store, "2 RUNNING")
	poll.Until(t, "the dead letter", func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.dead) == 1 && strings.Contains(store.dead[0], string(opennebula.ReasonSize))
	})
}

// serveRaw answers each connection with bytes, and closes it unless it should
// be kept.
func serveRaw(t testing.TB, answer []byte, keep bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Write(answer)
			if !keep {
				conn.Close()
			}
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

// zmtpGreeting is a true greeting of a peer with the NULL mechanism.
func zmtpGreeting() []byte {
	wire := make([]byte, greetingSize)
	wire[0], wire[9], wire[10] = 0xff, 0x7f, 3
	copy(wire[12:], "NULL")
	return wire
}

func TestPeersThatDoNotSpeakZeroMQ(t *testing.T) {
	ready := func(body ...byte) []byte {
		command := append([]byte{5}, "READY"...)
		command = append(command, body...)
		return append(zmtpGreeting(), append([]byte{4, byte(len(command))}, command...)...)
	}
	peers := map[string][]byte{
		"closes at once":     nil,
		"speaks HTTP":        []byte("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat(" ", 100)),
		"closes after hello": zmtpGreeting(),
		"lies about lengths": ready(200, 'a', 'b'),
		"no socket type":     ready(),
		"an empty command":   append(zmtpGreeting(), 4, 0),
		"an error":           append(zmtpGreeting(), 4, 7, 5, 'E', 'R', 'R', 'O', 'R', 0),
	}
	for name, answer := range peers {
		if _, err := subscribe(limited(t), serveRaw(t, answer, false), []string{"a"}); err == nil {
			t.Errorf("%s: it was taken for a publisher", name)
		}
	}
}

func TestSilentPeerHoldsNothingUp(t *testing.T) {
	address := serveRaw(t, nil, true)
	ctx, cancel := context.WithTimeout(limited(t), 20*time.Millisecond)
	defer cancel()
	if _, err := subscribe(ctx, address, nil); err == nil {
		t.Error("it was taken for a publisher")
	}
	store := newFakeStore()
	b := newBridge(quietly("tcp://"+address), store, nil, nil)
	startBridge(t, b)
	poll.Until(t, "the feed", func() bool { return b.Status()[0].Holding })
	must(t, b.Stop(limited(t)))
}
