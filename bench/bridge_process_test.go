package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/pipeline"
)

// benchBridge makes the benchmarks' binary a bridge in a process of its own, so
// that its memory and its share of the processors are its own. The value is the
// endpoint, benchNATS's the address of NATS.
const (
	benchBridge = "FLOWJET_BENCH_BRIDGE"
	benchNATS   = "FLOWJET_BENCH_NATS"
)

// asBridge runs the bridge if this process is to be one.
func asBridge() (is bool, err error) {
	endpoint := os.Getenv(benchBridge)
	if endpoint == "" {
		return false, nil
	}
	return true, runBridge(endpoint, os.Getenv(benchNATS))
}

// runBridge writes its status for each line that it reads, until there are no
// more.
func runBridge(endpoint, nats string) error {
	debug.SetGCPercent(app.BridgeGrowth)
	ctx := context.Background()
	pipe, err := pipeline.Open(ctx, pipeline.Config{URL: nats, Name: "bridge"})
	if err != nil {
		return err
	}
	b := bridge.New(bridge.Config{Endpoints: []string{endpoint}, Events: []string{"vm", "net", "host", "image", "one.vm.update"}, Logger: slog.New(slog.DiscardHandler)}, pipe, nil)
	if err := b.Start(ctx); err != nil {
		return err
	}
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := answers.Encode(b.Status()[0]); err != nil {
			return err
		}
	}
	return b.Stop(ctx)
}

// bridgeProcess is such a process.
type bridgeProcess struct {
	command *exec.Cmd
	ask     io.WriteCloser
	answers *json.Decoder
}

func startBridgeProcess(b *testing.B, endpoint, nats string) *bridgeProcess {
	b.Helper()
	p := &bridgeProcess{command: exec.Command(os.Args[0])}
	p.command.Env = append(os.Environ(), benchBridge+"="+endpoint, benchNATS+"="+nats)
	p.command.Stderr = os.Stderr
	var err error
	p.ask, err = p.command.StdinPipe()
	must(b, err)
	out, err := p.command.StdoutPipe()
	must(b, err)
	p.answers = json.NewDecoder(out)
	must(b, p.command.Start())
	b.Cleanup(func() {
		p.ask.Close()
		_ = p.command.Wait()
	})
	return p
}

func (p *bridgeProcess) status(b *testing.B) bridge.FeedStatus {
	b.Helper()
	_, err := fmt.Fprintln(p.ask, "status")
	must(b, err)
	var status bridge.FeedStatus
	must(b, p.answers.Decode(&status))
	return status
}

// memory is the most memory that the process has had in use, in bytes; 0 where
// the system does not tell.
func (p *bridgeProcess) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kibibytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kibibytes); err == nil {
			return kibibytes << 10
		}
	}
	return 0
}
