package pipeline

import "time"

// Reservation is what BucketCommands holds under the name of a key with which
// a client marks a request, so that repeating it acts once.
type Reservation struct {
	Version int `json:"v"`
	// Command is the id of the command that the request leads to. Whatever the
	// request makes carries it, too.
	Command string `json:"command"`
	// Request is a digest: the same key with another request is a mistake.
	Request string `json:"request"`
	// Taken is since when the request is being worked on; zero when nobody is.
	Taken time.Time `json:"taken,omitzero"`
	// Began is when the first attempt was taken: what a request does at a time
	// counts from then, in every attempt.
	Began time.Time `json:"began,omitzero"`
	// Answer is the request's, once there is one.
	Answer *KeptAnswer `json:"answer,omitempty"`
}

// KeptAnswer is an HTTP answer that is given again.
type KeptAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Location    string `json:"location,omitempty"`
	Body        []byte `json:"body,omitempty"`
}
