package pipeline

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"go.opentelemetry.io/otel/propagation"
)

// Encode writes any message of this package.
func Encode(message any) []byte {
	text, err := json.Marshal(message, jsonv1.DefaultOptionsV1())
	if err != nil {
		// Only our own plain structs come here; failing means a programming error.
		panic("pipeline: encode " + err.Error())
	}
	return text
}

// Decode reads any message of this package. Fields that are not known here are passed over.
func Decode(text []byte, message any) error {
	return json.Unmarshal(text, message, jsonv1.DefaultOptionsV1())
}

// DecodeEvent reads an event of a schema version that is known here.
func DecodeEvent(data []byte) (Event, error) {
	var event Event
	if err := Decode(data, &event); err != nil {
		return Event{}, err
	}
	if event.Version < 1 || event.Version > Version {
		return Event{}, fmt.Errorf("schema version %d is not supported", event.Version)
	}
	return event, nil
}

// DecodeWork reads work of a schema version up to the one given. Of work that a newer Flowjet
// wrote only the service is known.
func DecodeWork(data []byte, schema int) (Work, error) {
	var work Work
	err := Decode(data, &work)
	if err == nil && work.Version >= 1 && work.Version <= schema {
		return work, nil // read once
	}
	var head struct {
		Version int `json:"v"`
		Service int `json:"service"`
	}
	switch malformed := Decode(data, &head); {
	case malformed != nil:
		return Work{}, malformed
	case head.Version < 1:
		return Work{}, fmt.Errorf("schema version %d is not supported", head.Version)
	case head.Version > schema:
		return Work{Version: head.Version, Service: head.Service, Newer: true}, nil
	}
	return Work{}, err
}

// WithTrace is a context in which spans go on with the trace that a message
// carried; an empty text changes nothing.
func WithTrace(ctx context.Context, carried string) context.Context {
	if carried == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{HeaderTrace: carried})
}
