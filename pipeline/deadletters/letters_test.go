package deadletters

import (
	"testing"

	"github.com/flowjet/flowjet/pipeline"
)

func TestADeadLettersReasonIsOneLine(t *testing.T) {
	p, ctx := single(t), limited(t)
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "bridge", Reason: "first\r\nNats-Rollup: all\nthird", Data: make([]byte, maxData+1)}))
	message, err := p.Core().Stream(pipeline.StreamDead).Last(ctx, pipeline.DeadSubject("bridge"))
	must(t, err)
	if reason := message.Header.Get(pipeline.HeaderReason); reason != "first Nats-Rollup: all third" {
		t.Errorf("the reason is %q", reason)
	}
	if len(message.Data) != maxData {
		t.Errorf("%d bytes are kept", len(message.Data))
	}
}
