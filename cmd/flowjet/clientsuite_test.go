package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// suiteTarget is the server that is tried, with three ways in.
type suiteTarget struct {
	// URL is the API's, http://127.0.0.1:2474.
	URL string
	// Admin and User are "name:password"; the user may use VM template 0.
	Admin, User string
	// Server makes a server user's credentials for a target: "serveradmin:<target>:<token>".
	Server func(target string) string
	// Patience is how long a state may take to be reached.
	Patience time.Duration
}

// clientStep is one call of a client.
type clientStep struct {
	Name, Method, Path, Body string
	// Status is what the client gets.
	Status int
	// Has are texts that the answer has, or with a ! in front has not. Blanks do not count.
	Has []string
	// Keep is the name under which the id of the document in the answer is kept; "{name}" in what follows stands for it.
	Keep string
	// Wait repeats the call until the answer is as wanted.
	Wait bool
	// As is who sends it: "admin", "user", "server" or "server for user"; the client's own unless given.
	As string
}

// oneflowClient is one of OneFlow's clients.
type oneflowClient struct {
	Name    string
	Headers map[string]string
	// As is who its steps are sent by.
	As    string
	Steps []clientStep
}

// runClients sends what OneFlow's clients send, with their headers and bodies in their order, and returns what was answered otherwise than the clients need.
func runClients(ctx context.Context, target suiteTarget) error {
	var failures []error
	for _, client := range oneflowClients() {
		run := &clientRun{target: target, client: client, ids: map[string]string{}, http: &http.Client{Timeout: time.Minute}}
		for _, step := range client.Steps {
			if err := run.step(ctx, step); err != nil {
				failures = append(failures, fmt.Errorf("%s: %s: %w", client.Name, step.Name, err))
			}
		}
		run.http.CloseIdleConnections()
	}
	return errors.Join(failures...)
}

type clientRun struct {
	target suiteTarget
	client oneflowClient
	ids    map[string]string
	http   *http.Client
}

func (r *clientRun) step(ctx context.Context, step clientStep) error {
	ctx, cancel := context.WithTimeout(ctx, r.target.Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, text, err := r.send(ctx, step)
		if err != nil {
			return err
		}
		if err = step.check(status, text); err == nil {
			return r.keep(step, text)
		}
		if !step.Wait {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", err)
		}
	}
}

func (r *clientRun) send(ctx context.Context, step clientStep) (status int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, step.Method, r.target.URL+r.filled(step.Path), strings.NewReader(r.filled(step.Body)))
	if err != nil {
		return 0, "", err
	}
	for name, value := range r.client.Headers {
		request.Header.Set(name, value)
	}
	as := step.As
	if as == "" {
		as = r.client.As
	}
	name, secret, _ := strings.Cut(r.credentials(as), ":")
	request.SetBasicAuth(name, secret)
	response, err := r.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return response.StatusCode, string(read), err
}

func (r *clientRun) credentials(as string) string {
	user, _, _ := strings.Cut(r.target.User, ":")
	switch as {
	case "user":
		return r.target.User
	case "server":
		return r.target.Server("oneadmin")
	case "server for user":
		return r.target.Server(user)
	}
	return r.target.Admin
}

// filled puts kept ids in the place of their names.
func (r *clientRun) filled(text string) string {
	for name, id := range r.ids {
		text = strings.ReplaceAll(text, "{"+name+"}", id)
	}
	return text
}

func (s clientStep) check(status int, text string) error {
	if status != s.Status {
		return fmt.Errorf("got %d, expected %d: %.300s", status, s.Status, text)
	}
	plain := strings.Join(strings.Fields(text), "")
	for _, part := range s.Has {
		part = strings.Join(strings.Fields(part), "")
		absent, isAbsent := strings.CutPrefix(part, "!")
		switch {
		case isAbsent && strings.Contains(plain, absent):
			return fmt.Errorf("%s is in the answer: %.2000s", absent, text)
		case !isAbsent && !strings.Contains(plain, part):
			return fmt.Errorf("%s is not in the answer: %.2000s", part, text)
		}
	}
	return nil
}

func (r *clientRun) keep(step clientStep, text string) error {
	if step.Keep == "" {
		return nil
	}
	var read struct {
		Document struct{ ID string } `json:"DOCUMENT"`
	}
	if json.Unmarshal([]byte(text), &read) != nil || read.Document.ID == "" {
		return fmt.Errorf("the answer has no document: %.300s", text)
	}
	r.ids[step.Keep] = read.Document.ID
	return nil
}
