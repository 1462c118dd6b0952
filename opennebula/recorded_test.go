package opennebula

import (
	"context"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/fixtures"
)

type recordedCall struct {
	Method   string `json:"method"`
	Request  string `json:"request"`
	Response string `json:"response"`
}

// repeat makes a recorded call again with this package, from its arguments.
var repeat = map[string]func(ctx context.Context, s *Session, a []argument) error{
	"one.documentpool.info": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.documents(ctx, number(a[4]), number(a[1]), number(a[2]), number(a[3]))
		return err
	},
	"one.document.info": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.Document(ctx, number(a[1]))
		return err
	},
	"one.document.allocate": func(ctx context.Context, s *Session, a []argument) error {
		var template struct {
			Name string `xml:"NAME"`
			Body []byte `xml:"BODY"`
		}
		if err := xml.Unmarshal([]byte(a[1].Text), &template); err != nil {
			return err
		}
		_, err := s.AllocateDocument(ctx, number(a[2]), template.Name, template.Body)
		return err
	},
	"one.document.update": func(ctx context.Context, s *Session, a []argument) error {
		var template struct {
			Body []byte `xml:"BODY"`
		}
		if err := xml.Unmarshal([]byte(a[2].Text), &template); err != nil {
			return err
		}
		return s.UpdateDocument(ctx, number(a[1]), template.Body)
	},
	"one.document.delete": func(ctx context.Context, s *Session, a []argument) error {
		return s.DeleteDocument(ctx, number(a[1]))
	},
	"one.document.rename": func(ctx context.Context, s *Session, a []argument) error {
		return s.RenameDocument(ctx, number(a[1]), a[2].Text)
	},
	"one.document.chown": func(ctx context.Context, s *Session, a []argument) error {
		return s.ChownDocument(ctx, number(a[1]), number(a[2]), number(a[3]))
	},
	"one.document.chmod": func(ctx context.Context, s *Session, a []argument) error {
		octet := ""
		for i := 2; i < 11; i += 3 {
			octet += string(rune('0' + number(a[i])*4 + number(a[i+1])*2 + number(a[i+2])))
		}
		return s.ChmodDocument(ctx, number(a[1]), octet)
	},
	"one.document.clone": func(ctx context.Context, s *Session, a []argument) error {
		return Call(ctx, s, "one.document.clone", number(a[1]), a[2].Text)
	},
	"one.template.info": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.VMTemplate(ctx, number(a[1]))
		return err
	},
	"one.template.instantiate": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.InstantiateTemplate(ctx, number(a[1]), a[2].Text, a[3].Text == "1", a[4].Text)
		return err
	},
	"one.vm.info": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.VM(ctx, number(a[1]))
		return err
	},
	"one.vm.action": func(ctx context.Context, s *Session, a []argument) error {
		return s.ActOnVM(ctx, a[1].Text, number(a[2]))
	},
	"one.vm.chown": func(ctx context.Context, s *Session, a []argument) error {
		return s.ChownVM(ctx, number(a[1]), number(a[2]), number(a[3]))
	},
	"one.vmpool.infoextended": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.VMs(ctx, number(a[1]), number(a[2]), number(a[3]), number(a[4]))
		return err
	},
	"one.user.info": func(ctx context.Context, s *Session, a []argument) error {
		_, err := s.User(ctx, number(a[1]))
		return err
	},
}

func number(a argument) int {
	n, sign := 0, 1
	for _, r := range a.Text {
		if r == '-' {
			sign = -1
			continue
		}
		n = n*10 + int(r-'0')
	}
	return n * sign
}

// Every recorded call that has a counterpart here is made again: the request
// must be the recorded one, and the recorded answer must be understood.
func TestRecordedCalls(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).With("anna", "secret")
	seen := map[string]int{}
	for _, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		again, known := repeat[call.Method]
		if !known {
			continue
		}
		seen[call.Method]++
		var recorded request
		if err := xml.Unmarshal([]byte(call.Request), &recorded); err != nil {
			t.Fatal(err)
		}
		want := recorded.arguments(t)
		oned.says(call.Response)
		err := again(t.Context(), session, want)
		if refused := strings.Contains(call.Response, "<boolean>0</boolean>"); refused != isRefusal(err) {
			t.Errorf("%s: refused is %v, error is %v", call.Method, refused, err)
		}
		got := oned.lastCall().arguments(t)
		if call.Method == "one.user.info" && len(want) == 2 {
			got = got[:2] // Recorded with and without the flag that we always send.
		}
		if !reflect.DeepEqual(got[1:], want[1:]) {
			t.Errorf("%s: sent\n%q\nrecorded\n%q", call.Method, got[1:], want[1:])
		}
	}
	for method := range repeat {
		if seen[method] == 0 {
			t.Errorf("%s is not in the recording", method)
		}
	}
}

func isRefusal(err error) bool {
	_, refused := err.(*Error) //nolint:errorlint // nothing wraps it here
	return err != nil && refused
}

func TestRecordedVMs(t *testing.T) {
	oned := newFakeOned(t)
	session := newTestClient(t, oned.URL).Server()
	for _, call := range fixtures.Lines[recordedCall](t, "xmlrpc.jsonl") {
		oned.says(call.Response)
		switch call.Method {
		case "one.vmpool.infoextended":
			vms, err := session.VMs(t.Context(), FilterAll, -1, -1, StateNotDone)
			if err != nil || len(vms) != strings.Count(call.Response, "&lt;VM&gt;") {
				t.Fatalf("%d VMs, %v", len(vms), err)
			}
			for _, vm := range vms {
				checkRecordedVM(t, vm)
			}
		case "one.vm.info":
			if vm, err := session.VM(t.Context(), 1); err == nil {
				checkRecordedVM(t, vm)
			}
		}
	}
}

// checkRecordedVM uses that OneFlow writes role and service into a VM's name.
func checkRecordedVM(t *testing.T, vm one.VM) {
	t.Helper()
	if vm.ID == 0 || vm.Name == "" || vm.Owner.UName == "" {
		t.Errorf("VM %+v lacks its head", vm)
	}
	if strings.Contains(vm.Name, "(service_") {
		if vm.Service < 0 || !strings.HasPrefix(vm.Name, vm.Role+"_") {
			t.Errorf("VM %q has role %q of service %d", vm.Name, vm.Role, vm.Service)
		}
	}
}
