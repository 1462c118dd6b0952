package client

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Credentials are a user, a password and the API to call.
type Credentials struct {
	Endpoint, User, Password string
}

// Sources are the places to search for credentials. An empty one is replaced by those of the `oneflow` command: the
// environment, ~/.one and /var/lib/one/.one.
type Sources struct {
	Endpoint, AuthFile string
	// Simulated is the file of a simulator's user, for users without other credentials.
	Simulated string
}

// standardEndpoint is the API's address unless another is set.
const standardEndpoint = "http://127.0.0.1:2474"

// Find returns the credentials from the sources.
func (s Sources) Find() (Credentials, error) {
	found := Credentials{Endpoint: s.endpoint(), User: os.Getenv("ONEFLOW_USER"), Password: os.Getenv("ONEFLOW_PASSWORD")}
	if s.AuthFile == "" && found.User != "" && found.Password != "" {
		return found, nil
	}
	path, err := s.file()
	if err != nil {
		return found, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return found, fmt.Errorf("read your credentials: %w: set another file with ONE_AUTH or --auth-file", err)
	}
	line := strings.TrimSpace(string(text))
	var isPair bool
	found.User, found.Password, isPair = strings.Cut(line, ":")
	if !isPair || found.User == "" || strings.Contains(line, "\n") {
		return found, fmt.Errorf("%s does not contain credentials: it must be one line, user:password", path)
	}
	return found, nil
}

func (s Sources) endpoint() string {
	if named := cmp.Or(s.Endpoint, os.Getenv("ONEFLOW_URL")); named != "" {
		return named
	}
	for _, folder := range folders() {
		if text, err := os.ReadFile(filepath.Join(folder, "oneflow_endpoint")); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return standardEndpoint
}

// file returns the first file that exists. A file that is named has to exist.
func (s Sources) file() (string, error) {
	if named := cmp.Or(s.AuthFile, os.Getenv("ONE_AUTH")); named != "" {
		return named, nil
	}
	var candidates []string
	for _, folder := range folders() {
		candidates = append(candidates, filepath.Join(folder, "one_auth"))
	}
	if s.Simulated != "" {
		candidates = append(candidates, s.Simulated)
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return path, nil
		}
	}
	return "", fmt.Errorf("there are no OpenNebula credentials: write user:password into %s, or set another file with ONE_AUTH or --auth-file", candidates[0])
}

// folders returns OpenNebula's folders for the credentials of users.
func folders() []string {
	var found []string
	if home, err := os.UserHomeDir(); err == nil {
		found = append(found, filepath.Join(home, ".one"))
	}
	return append(found, "/var/lib/one/.one")
}
