package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

func TestVMDeadlinesOfAConfiguration(t *testing.T) {
	want := flow.DefaultVMDeadlines()
	if got, err := flow.ParseVMDeadlines(nil); got != want || err != nil {
		t.Errorf("without any: %+v, %v", got, err)
	}
	want.Boot, want.Ready, want.LeaderChange = 5*time.Minute, 0, 2*time.Second
	if got, err := flow.ParseVMDeadlines([]string{"boot=5m", " ready = 0s", "leader-change=2s"}); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for text, wrong := range map[string]string{"boots=5m": "it can have boot, epilog", "boot": "must be a duration", "boot=600": "must be a duration", "prolog=-1s": "must be a duration", "": "it can have"} {
		if _, err := flow.ParseVMDeadlines([]string{text}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
