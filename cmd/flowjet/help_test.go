package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/internal/terminal"
)

// TestWrongCommandLines are answered with one line that says what mends it, and
// failed.
func TestWrongCommandLines(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	misspelt, text := write("misspelt.yaml", "log: {levl: info}\n"), write("text", "hello\n")
	nowhere := filepath.Join(text, "nowhere") // below a file nothing can be made
	o := operator{t: t, environment: append(os.Environ(), asCommand+"=1")}
	for line, want := range map[string]string{
		"nonsense":                               "`flowjet --help` lists all",
		"stauts":                                 "did you mean `flowjet status`?",
		"up extra":                               "`flowjet up` takes no argument \"extra\", only flags: see `flowjet up --help`",
		"up --api-lisen x":                       "did you mean --api-listen?",
		"up --nonsense":                          "`flowjet up --help` lists all",
		"up --api-action-number many":            "it must be a whole number",
		"up --config " + nowhere:                 "or set another with --config",
		"up --config " + misspelt:                "did you mean log.level?",
		"up --config " + text:                    "a configuration file must be a mapping of keys",
		"up --sim --data-dir " + nowhere:         "choose another with --data-dir",
		"worker --one-auth-file " + nowhere:      "set the right file with --one-auth-file",
		"worker --one-auth-file " + text:         "it must have one line, user:password",
		"config chek":                            "did you mean `flowjet config check`?",
		"config import":                          "it is `flowjet config import FILE",
		"config import " + nowhere:               "the default of OneFlow is /etc/one/oneflow-server.conf",
		"config import " + text:                  "is it oneflow-server.conf?",
		"config import " + misspelt:              "none of its keys (log.levl) is a key of OneFlow",
		"config import --out a --into b " + text: "use one of them",
		"migrate --one-auth-file " + nowhere:     "set the right file with --one-auth-file",
		"nats provisoin":                         "did you mean `flowjet nats provision`?",
		"nats keys --out " + nowhere:             "choose another with --out",
		"nats keys --hosts a/b --out " + folder:  "use names by which the other hosts can reach them",
		"nats --nats-server-file " + text + " --data-dir " + folder: "/usr/share/flowjet/nats/server.conf",
		"nats --nats-cluster c":            "--nats-cluster can no longer be set: a server with nats.routes is in the cluster flowjet",
		"nats --nats-routes nats://h:6222": "nats.server_file is not set",
		"demo --nats nats://127.0.0.1:1":   "is `flowjet up --sim` running,",
		"replay " + nowhere:                "open the recording",
		"service record":                   "it is `flowjet service record SERVICE",
		"events --servce 3":                "did you mean --service?",
		"status --nats-nkey-file " + nowhere + " --nats-listen 127.0.0.1:1": "`flowjet doctor` has more",
		"man":             "it is `flowjet man FOLDER",
		"completion tcsh": "did you mean `flowjet completion bash`?",
		"help nonsense":   "`flowjet --help` lists all",
	} {
		out, failed, err := o.types(strings.Fields(line)...)
		if err == nil || !strings.Contains(failed, want) || strings.Count(failed, "\n") != 1 || out != "" {
			t.Errorf("flowjet %s: %v, want one line with %q:\n%s\n%s", line, err, want, failed, out)
		}
	}
	for _, line := range []string{"replay " + nowhere, "migrate --one-auth-file " + nowhere, "config import " + text, "config import --out " + filepath.Join(folder, "new") + " " + misspelt} {
		_, failed, err := o.types(strings.Fields(line)...)
		if ended, is := errors.AsType[*exec.ExitError](err); !is || ended.ExitCode() != int(terminal.ExitUsage) {
			t.Errorf("flowjet %s: %v, want the status %d:\n%s", line, err, terminal.ExitUsage, failed)
		}
	}
}

// TestEveryHelp has an example that could be typed, fits a terminal, and names the values of
// flags in a word each.
func TestEveryHelp(t *testing.T) {
	root := newRoot()
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Hidden || cmd == root || strings.Contains(cmd.CommandPath(), " completion") || cmd.Name() == "help" || !cmd.Runnable() {
			return
		}
		var out strings.Builder
		cmd.SetOut(&out)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if len([]rune(line)) > helpWidth+15 {
				t.Errorf("`%s --help` has a line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if kind, _ := pflag.UnquoteUsage(flag); strings.ContainsAny(kind, " ") {
				t.Errorf("`%s`: the value of --%s is called %q", cmd.CommandPath(), flag.Name, kind)
			}
			if strings.ToLower(flag.Name) != flag.Name || strings.Contains(flag.Name, "_") {
				t.Errorf("`%s`: --%s is not in small letters with hyphens", cmd.CommandPath(), flag.Name)
			}
		})
		if cmd.HasAvailableSubCommands() {
			return
		}
		for line := range strings.Lines(cmd.Example) {
			parts := strings.Split(line, " | ") // the last command of a pipe is meant
			words := strings.Fields(parts[len(parts)-1])
			found, _, err := root.Find(words[1:])
			if err != nil || found != cmd && cmd.Example != "" {
				t.Errorf("`%s`: this is no example of it: %s", cmd.CommandPath(), line)
			}
		}
		if cmd.Example == "" {
			t.Errorf("`%s --help` has no example", cmd.CommandPath())
		}
	})
}

// A command whose output cannot be written does not succeed: an empty file is not an empty list.
func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("there is no disk that is full: %v", err)
	}
	defer full.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"--help", "help options", "completion bash"} {
		var failed strings.Builder
		command := exec.CommandContext(t.Context(), self, strings.Fields(line)...)
		command.Env, command.Stdout, command.Stderr = append(os.Environ(), asCommand+"=1"), full, &failed
		if err := command.Run(); err == nil || !strings.Contains(failed.String(), "no space left on device") {
			t.Errorf("flowjet %s: %v, want the disk's error: %s", line, err, failed.String())
		}
	}
}
