package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/opennebula"
)

// ReplayConfig sets what to replay, where and how fast.
type ReplayConfig struct {
	// File has one hook event a line, as JSON: t in unix seconds, key, body_b64 (the second frame
	// as it was) and, for messages that are not as they should be, more, a list of further frames.
	File string
	// Listen is host:port; port 0 is one of the system's choice.
	Listen string
	// Speed is 1 for the recorded pace, 10 for ten times that, and 0 for as fast as the subscribers read.
	Speed float64
	// Out receives progress messages for people.
	Out io.Writer
}

type recorded struct {
	Time float64  `json:"t"`
	Key  string   `json:"key"`
	Body *string  `json:"body_b64"`
	More []string `json:"more"`
}

// maxLine bounds a recording's lines, in bytes.
const maxLine = 64 << 20

// Replay publishes a recording over a ZeroMQ PUB socket, once a client has
// subscribed, and returns when the last event is written.
func Replay(ctx context.Context, config ReplayConfig) error {
	if config.Speed < 0 {
		return fmt.Errorf("replay at speed %g: a speed is 0 or more", config.Speed)
	}
	file, err := os.Open(config.File)
	if err != nil {
		return fmt.Errorf("open the recording: %w", err)
	}
	defer file.Close()
	publisher, err := newPublisher(ctx, config.Listen)
	if err != nil {
		return err
	}
	defer publisher.Close()
	fmt.Fprintf(config.Out, "publishing on tcp://%s when somebody has subscribed\n", publisher.Addr())
	keys := []string{opennebula.StateSubscription, opennebula.CallSubscription("one.vm.update")}
	if err := publisher.Wait(ctx, 1, settled, keys...); err != nil {
		return fmt.Errorf("wait for a subscriber to replay %s to: %w", config.File, err)
	}
	sent, wanted, err := replay(ctx, file, publisher, config.Speed)
	fmt.Fprintf(config.Out, "published %d events, of which %d had a subscriber\n", sent, wanted)
	if err != nil {
		return fmt.Errorf("replay %s after event %d: %w", config.File, sent, err)
	}
	return nil
}

const (
	// writeTimeout is how long a subscriber may read nothing before it is disconnected.
	writeTimeout = 30 * time.Second
	// settled is how long subscriptions must not have changed if not all expected topics are subscribed to.
	settled = time.Second
	// ahead is how many events wait for a subscriber that reads more slowly than they are sent.
	ahead = 64
)

// newPublisher waits for slow subscribers, where oned drops their messages.
func newPublisher(ctx context.Context, listen string) (*zmqpub.Publisher, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("publish hook events on %s: %w (is oned, or another replay, using the port?)", listen, err)
	}
	return zmqpub.New(listener, zmqpub.Config{HighWater: ahead, Patience: writeTimeout, Logger: slog.New(slog.DiscardHandler)}), nil
}

// replay sends a recording's events and counts them, and those with a subscriber.
func replay(ctx context.Context, from io.Reader, to *zmqpub.Publisher, speed float64) (sent, wanted int, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	last := 0.0
	for number := 1; lines.Scan(); number++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var event recorded
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return sent, wanted, fmt.Errorf("line %d is not a recorded event: %w", number, err)
		}
		var pause time.Duration
		if speed > 0 && last != 0 {
			pause = time.Duration((event.Time - last) / speed * float64(time.Second))
		}
		last = event.Time
		if err := idle.For(ctx, pause); err != nil {
			return sent, wanted, err
		}
		frames := [][]byte{[]byte(event.Key)}
		if event.Body != nil {
			frames = append(frames, []byte(*event.Body))
		}
		for _, more := range event.More {
			frames = append(frames, []byte(more))
		}
		sent++
		if to.Send(frames...) > 0 {
			wanted++
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line is longer than %d MiB", maxLine>>20)
		}
		return sent, wanted, err
	}
	return sent, wanted, nil
}
