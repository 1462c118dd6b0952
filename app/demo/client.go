package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// maxAnswer bounds what the demo reads of one answer, in bytes.
const maxAnswer = 8 << 20

// client speaks the OneFlow API.
type client struct {
	base, user, password string
	http                 *http.Client
}

func newClient(base, user, password string) *client {
	return &client{
		base: strings.TrimSuffix(base, "/"), user: user, password: password,
		http: &http.Client{Timeout: 30 * time.Second},
	}
}

// document is what the demo needs of an answer.
type document struct {
	id   int
	body flow.Body
}

// call sends a request whose answer has no body that matters.
func (c *client) call(ctx context.Context, method, path, body string) error {
	_, err := c.send(ctx, method, path, body)
	return err
}

func (c *client) document(ctx context.Context, method, path, body string) (document, error) {
	text, err := c.send(ctx, method, path, body)
	if err != nil {
		return document{}, err
	}
	var answer struct {
		Document struct {
			ID       string `json:"ID"`
			Template struct {
				Body flow.Body `json:"BODY"`
			} `json:"TEMPLATE"`
		} `json:"DOCUMENT"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return document{}, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	id, err := strconv.Atoi(answer.Document.ID)
	if err != nil {
		return document{}, fmt.Errorf("%s %s: the answer has no id: %w", method, path, err)
	}
	return document{id: id, body: answer.Document.Template.Body}, nil
}

func (c *client) send(ctx context.Context, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.SetBasicAuth(c.user, c.password)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: is `flowjet up --sim` running?", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}
