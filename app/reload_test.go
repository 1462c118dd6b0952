package app

import (
	"io"
	"os"
	"strings"
	"testing"
)

// A file that is wrong keeps no other from being read again: all are named.
func TestReloadReadsAllFiles(t *testing.T) {
	t.Parallel()
	hooks := write(t, "webhooks.yaml", "receivers: []\n")
	cloud, auth := newSim(t, anyPorts)
	running, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--one-xmlrpc", cloud.Sim().Endpoint(),
		"--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", auth, "--webhooks-file", hooks)
	must(t, err)
	log, err := NewLog(running.config, io.Discard)
	must(t, err)
	must(t, running.Reload(running.config, log))
	must(t, os.WriteFile(hooks, []byte("receivers: 5\n"), 0o600))
	must(t, os.WriteFile(auth, nil, 0o600))
	if err := running.Reload(running.config, log); err == nil || !strings.Contains(err.Error(), hooks) || !strings.Contains(err.Error(), auth) {
		t.Errorf("%v, want both %s and %s to be named", err, hooks, auth)
	}
}
