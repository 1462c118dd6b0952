package pipeline

import (
	"encoding/json"
	"time"
)

// Delivery is a message on StreamHook: what is to be posted to one receiver.
type Delivery struct {
	Version int `json:"v"`
	// ID is the transition's, "<service>-<number>": the same at every attempt.
	ID      string `json:"id"`
	Service int    `json:"service"`
	// Receiver is the name of one of the configuration, empty for one of the
	// service, of which URL and Secret (a name) then say what it is.
	Receiver string `json:"receiver,omitempty"`
	URL      string `json:"url,omitempty"`
	Secret   string `json:"secret,omitempty"`
	// Owner is the name of the service's owner, whose secrets may be used and whose share of
	// the attempts it is.
	Owner string `json:"owner,omitempty"`
	// Body is what is posted, byte by byte.
	Body json.RawMessage `json:"body"`

	// Sequence is the message's number in StreamHook, Queued when it came there.
	Sequence uint64    `json:"-"`
	Queued   time.Time `json:"-"`
}

// Attempts are what came of a delivery so far; BucketHooks holds them.
type Attempts struct {
	Version int `json:"v"`
	// Sequence is the delivery's.
	Sequence uint64 `json:"sequence"`
	Count    int    `json:"count"`
	// First is when the first attempt failed, Next when the next one is due.
	First time.Time `json:"first"`
	Next  time.Time `json:"next"`
	// Error is what the last one failed with.
	Error string `json:"error"`
}
