package bridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// asBridge makes the test binary behave as a bridge, so that tests can kill real
// processes. Its value is the publishers' endpoints, natsAddress's that of NATS.
// With onedAddress, and its user in onedUser, there is an oned to compare with.
const (
	asBridge    = "FLOWJET_TEST_AS_BRIDGE"
	natsAddress = "FLOWJET_TEST_NATS"
	onedAddress = "FLOWJET_TEST_ONED"
	onedUser    = "FLOWJET_TEST_ONED_USER"
)

// runAsBridge is a bridge that runs until its process is killed or its input
// ends with the test's process.
func runAsBridge() int {
	ctx := context.Background()
	p, err := pipeline.Open(ctx, pipeline.Config{URL: os.Getenv(natsAddress), Name: "bridge under test"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	config := quietly(strings.Split(os.Getenv(asBridge), ",")...)
	config.Standby = time.Second // a busy machine may pause a process for some time
	oned, err := onedOfProcess(&config)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	b := New(config, p, oned)
	if err := b.Start(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		told := map[string]bool{}
		for ; ; _ = idle.For(ctx, 5*time.Millisecond) {
			status := b.Status()[0]
			for what, is := range map[string]bool{"holding": status.Holding, "hearing": status.Heard > 300} {
				if is && !told[what] {
					told[what] = true
					fmt.Println(what)
				}
			}
		}
	}()
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	if !errors.Is(err, os.ErrClosed) {
		_ = b.Stop(ctx)
	}
	return 0
}

// onedOfProcess is the oned that a bridge under test compares with, nil for none.
func onedOfProcess(config *Config) (*opennebula.Client, error) {
	endpoint := os.Getenv(onedAddress)
	if endpoint == "" {
		return nil, nil
	}
	credentials, err := opennebula.ParseCredentials(os.Getenv(onedUser))
	if err != nil {
		return nil, err
	}
	config.ResyncEvery, config.ResyncSettle = 2*time.Second, 300*time.Millisecond
	config.Quiet, config.SpillDir = 3*time.Second, os.TempDir()
	endpoints := strings.Split(endpoint, ",")
	return opennebula.NewClient(opennebula.Config{
		Endpoint: endpoints[0], Others: endpoints[1:], Credentials: credentials, Timeout: 5 * time.Second,
	}), nil
}

// bridgeProcess is a bridge in a process of its own.
type bridgeProcess struct {
	command *exec.Cmd
	// holding is closed when it publishes the feed, hearing when it has heard
	// some hundred events.
	holding, hearing chan struct{}
}

func startBridgeProcess(t testing.TB, endpoint, nats string, more ...string) *bridgeProcess {
	t.Helper()
	b := &bridgeProcess{command: exec.Command(os.Args[0]), holding: make(chan struct{}), hearing: make(chan struct{})}
	b.command.Env = append(append(os.Environ(), asBridge+"="+endpoint, natsAddress+"="+nats), more...)
	b.command.Stderr = os.Stderr
	_, err := b.command.StdinPipe() // closes with this process
	must(t, err)
	out, err := b.command.StdoutPipe()
	must(t, err)
	must(t, b.command.Start())
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			switch lines.Text() {
			case "holding":
				close(b.holding)
			case "hearing":
				close(b.hearing)
			}
		}
	}()
	t.Cleanup(b.kill)
	return b
}

// kill is kill -9.
func (b *bridgeProcess) kill() {
	_ = b.command.Process.Kill()
	_ = b.command.Wait()
}

func awaitSignal(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(poll.Limit):
		t.Fatalf("waited in vain for %s", what)
	}
}

// sendUntil publishes VM 0, 1, 2 ... until stop is closed, and counts them.
func sendUntil(publisher *publisher, stop <-chan struct{}, sent *atomic.Int64) {
	for {
		for range 20 {
			publisher.send(vmFrames(running(int(sent.Load()))))
			sent.Add(1)
		}
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func runningSubject(vm int64) string { return fmt.Sprintf("one.0.vm.%d.ACTIVE.RUNNING", vm) }

func TestAKilledBridgeIsReplacedWithoutAGapOrADouble(t *testing.T) {
	url, publisher := natstest.Server(t), newTestPublisher(t, "127.0.0.1:0")
	p := openPipeline(t, url)
	endpoint := "tcp://" + publisher.address()
	current := startBridgeProcess(t, endpoint, url)
	awaitSignal(t, "the first bridge to take the feed", current.holding)
	var sent atomic.Int64
	var sending sync.WaitGroup
	stop := make(chan struct{})
	sending.Go(func() { sendUntil(publisher, stop, &sent) })
	for range 2 {
		standby := startBridgeProcess(t, endpoint, url)
		// What came before it listened it cannot know: it has to have heard
		// what is stored last.
		awaitSignal(t, "the standby to listen", standby.hearing)
		heard := sent.Load()
		poll.Until(t, "what it heard to be stored", func() bool { return isStored(t, p, runningSubject(heard)) })
		current.kill()
		awaitSignal(t, "the standby to take over", standby.holding)
		current = standby
	}
	close(stop)
	sending.Wait()
	count := int(sent.Load())
	poll.Until(t, "the last event to be stored", func() bool { return isStored(t, p, runningSubject(sent.Load()-1)) })
	checkSequence(t, everything(t, p, pipeline.StreamONE), count)
	t.Logf("%d events through 4 bridges", count)
}

// isStored reports whether something is stored under a subject.
func isStored(t testing.TB, p *pipeline.Pipeline, subject string) bool {
	t.Helper()
	stream, err := p.JetStream().Stream(limited(t), pipeline.StreamONE)
	must(t, err)
	_, err = stream.GetLastMsgForSubject(limited(t), subject)
	return err == nil
}
