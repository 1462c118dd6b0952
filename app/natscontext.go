package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flowjet/flowjet/pipeline"
)

// ContextFile is what MakeContext writes: a context of the `nats` command.
const ContextFile = "flowjet.json"

// MakeContext writes, into the folder that MakeKeys has filled, a context by which the `nats`
// command reaches the servers as an operator: those of the hosts by TLS, or this host's.
func MakeContext(folder string, hosts []string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("find the folder of NATS keys: %w", err)
	}
	urls := []string{"nats://127.0.0.1:4222"}
	context := map[string]string{
		"description":  "Flowjet, as an operator",
		"nkey":         filepath.Join(folder, string(pipeline.RoleOperator)+".nk"),
		"inbox_prefix": pipeline.RoleOperator.InboxPrefix(),
	}
	if len(hosts) > 0 {
		urls = nil
		context["ca"] = filepath.Join(folder, authorityFile)
	}
	for _, host := range hosts {
		urls = append(urls, "tls://"+host+":4222")
	}
	context["url"] = strings.Join(urls, ",")
	text, err := json.MarshalIndent(context, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, ContextFile), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the context of the nats command: %w", err)
	}
	return nil
}
