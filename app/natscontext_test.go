package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestContextOfTheNatsCommand has what the command needs to be let in.
func TestContextOfTheNatsCommand(t *testing.T) {
	for _, test := range []struct {
		hosts   []string
		url, ca string
	}{
		{nil, "nats://127.0.0.1:4222", ""},
		{[]string{"fe-1", "fe-2"}, "tls://fe-1:4222,tls://fe-2:4222", "ca.pem"},
	} {
		folder := t.TempDir()
		for _, hosts := range [][]string{test.hosts, nil} { // without hosts, as after an upgrade, those of before are kept
			if err := MakeContext(folder, hosts); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(filepath.Join(folder, ContextFile))
		if err != nil {
			t.Fatal(err)
		}
		var context map[string]string
		if err := json.Unmarshal(text, &context); err != nil {
			t.Fatal(err)
		}
		if context["url"] != test.url || context["nkey"] != filepath.Join(folder, "operator.nk") || test.ca != "" && context["ca"] != filepath.Join(folder, test.ca) {
			t.Errorf("it says %v", context)
		}
	}
}
