package restapi

import "testing"

// BenchmarkInstantiate is a whole POST: credentials, template, document, and
// the command stored in JetStream.
func BenchmarkInstantiate(b *testing.B) {
	w := newWorld(b, Config{})
	action, body := w.template(alice)+"/action", perform("instantiate", "{}")
	for b.Loop() {
		w.expect(alice, "POST", action, body, 201, "")
	}
}

// BenchmarkListServices lists a hundred.
func BenchmarkListServices(b *testing.B) {
	w := newWorld(b, Config{})
	for range 100 {
		w.service(alice)
	}
	for b.Loop() {
		w.expect(alice, "GET", "/service", "", 200, "")
	}
}
