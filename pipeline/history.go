package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LastTransition is the number of the service's transition that was told last,
// 0 for none: what a crash left untold comes after it. The stream's leader is
// asked: another replica may lag behind.
func (p *Pipeline) LastTransition(ctx context.Context, service int) (uint64, error) {
	var header nats.Header
	err := persist(ctx, func(ctx context.Context) (err error) {
		header, err = p.lastHeader(ctx, StreamFlow, fmt.Sprintf("flow.event.%d.>", service))
		return err
	})
	if codeOf(err) == jetstream.JSErrCodeMessageNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last transition of service %d: %w", service, err)
	}
	_, number, _ := strings.Cut(header.Get(jetstream.MsgIDHeader), "-")
	if last, err := strconv.ParseUint(number, 10, 64); err == nil {
		return last, nil
	}
	return 0, nil // not one of ours: everything is told again
}

// lastHeader is the header of the last message on any of the subjects that the
// filter stands for. nats.go asks for one subject only, and any replica.
func (p *Pipeline) lastHeader(ctx context.Context, stream, filter string) (nats.Header, error) {
	answer, err := p.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, Encode(map[string]string{"last_by_subj": filter}))
	if err != nil {
		return nil, err
	}
	var found struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return nil, fmt.Errorf("read the answer of stream %s: %w", stream, err)
	}
	if found.Error != nil {
		return nil, &serverError{found.Error}
	}
	return nats.DecodeHeadersMsg(found.Message.Header)
}
