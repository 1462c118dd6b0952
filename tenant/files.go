package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/internal/terminal"
)

// maxFile bounds what is read of a file, in bytes: the API takes less.
const maxFile = 16 << 20

// readFile reads a file of YAML or JSON, - for standard input, and returns it as JSON.
func readFile(path string) (json.RawMessage, error) {
	var file io.Reader = os.Stdin
	if path != "-" {
		opened, err := os.Open(path)
		if err != nil {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("read the file: %w", err))
		}
		defer opened.Close()
		file = opened
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	body, err := asJSON(text)
	if err != nil {
		return nil, terminal.ExitUsage.Because(fmt.Errorf("%s is not an object in YAML or JSON: %w", path, err))
	}
	return body, nil
}

// asJSON returns an object of YAML as JSON; what is JSON stays as it is.
func asJSON(text []byte) (json.RawMessage, error) {
	if trimmed := bytes.TrimSpace(text); json.Valid(text) && trimmed[0] == '{' {
		return trimmed, nil
	}
	var object map[string]any
	var wrong *yaml.TypeError
	err := yaml.Unmarshal(text, &object)
	if errors.As(err, &wrong) {
		return nil, errors.New("it is something else") // the error would show what
	}
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if object == nil {
		return nil, errors.New("it is empty")
	}
	return json.Marshal(object)
}

// edit has a person edit a JSON object as YAML and returns it as JSON; nil where nothing was changed.
func edit(ctx context.Context, body json.RawMessage) (json.RawMessage, error) {
	before, err := terminal.YAMLOf(body)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "flowjet-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("create a file to edit: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(before)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("write a file to edit: %w", err)
	}
	editor := os.Getenv("VISUAL")
	for _, other := range []string{os.Getenv("EDITOR"), "vi"} {
		if editor == "" {
			editor = other
		}
	}
	// As git does: the editor may have arguments.
	command := exec.CommandContext(ctx, "sh", "-c", editor+` "$@"`, editor, file.Name())
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("edit with %s: %w: set another editor with EDITOR, or give a FILE", editor, err)
	}
	after, err := os.ReadFile(file.Name())
	if err != nil {
		return nil, fmt.Errorf("read the edited file: %w", err)
	}
	if bytes.Equal(before, after) {
		return nil, nil
	}
	changed, err := asJSON(after)
	if err != nil {
		return nil, terminal.ExitUsage.Because(fmt.Errorf("the edited file is not an object in YAML, and nothing was changed: %w", err))
	}
	return changed, nil
}

// escaped is a name as a part of a path.
func escaped(name string) string { return url.PathEscape(name) }
