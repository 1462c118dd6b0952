package opennebula

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// cannedOned answers every call with the same text, without a network in between.
type cannedOned struct{ answer []byte }

func (c cannedOned) RoundTrip(request *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: request,
		ContentLength: int64(len(c.answer)), Body: io.NopCloser(bytes.NewReader(c.answer)),
	}, nil
}

// cannedSession makes calls that are answered with a value.
func cannedSession(b *testing.B, value string) *Session {
	b.Helper()
	client := NewClient(Config{Endpoint: "http://127.0.0.1:1/RPC2", Credentials: testCredentials})
	b.Cleanup(client.Close)
	client.http.Transport = cannedOned{[]byte(envelope("<boolean>1</boolean>", value, "<i4>0</i4>"))}
	return client.Server()
}

func cannedText(text string) string { return "<string>" + escapeXML(text) + "</string>" }

// serviceBody is a service's document as it is saved, of some 8 KB.
func serviceBody() []byte {
	node := `{"deploy_id":17,"running":null,"scale_up":false,"vm_info":{"VM":{"ID":"17","UID":"0","GID":"0","UNAME":"oneadmin","GNAME":"oneadmin","NAME":"web_0_(service_7)"}}}`
	return []byte(`{"name":"web","state":2,"roles":[{"name":"web","nodes":[` + strings.Repeat(node+",", 50) + node + `]}]}`)
}

// BenchmarkCall makes calls and reads their answers.
func BenchmarkCall(b *testing.B) {
	body := serviceBody()
	head := "<UID>2</UID><GID>1</GID><UNAME>ada</UNAME><GNAME>users</GNAME>"
	vm := "<VM><ID>7</ID>" + head + "<NAME>web_0</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE>" +
		"<TEMPLATE>" + strings.Repeat("<NIC><IP><![CDATA[10.0.0.1]]></IP></NIC>", 60) + "</TEMPLATE>" +
		"<USER_TEMPLATE><SERVICE_ID><![CDATA[4]]></SERVICE_ID><ROLE_NAME><![CDATA[web]]></ROLE_NAME></USER_TEMPLATE></VM>"
	network := "<VNET><ID>7</ID>" + head + "<NAME>private</NAME><PERMISSIONS><OWNER_U>1</OWNER_U></PERMISSIONS><CLUSTERS><ID>0</ID></CLUSTERS>" +
		"<BRIDGE>br0</BRIDGE><STATE>1</STATE><PARENT_NETWORK_ID/><AR_POOL><AR><AR_ID>0</AR_ID><SIZE>10</SIZE></AR></AR_POOL><TEMPLATE><DNS>1</DNS></TEMPLATE></VNET>"
	for _, bench := range []struct {
		name, answer string
		call         func(s *Session) error
	}{
		{"VMs", cannedText("<VM_POOL>" + strings.Repeat(vm, 10) + "</VM_POOL>"), func(s *Session) error {
			vms, err := s.VMs(b.Context(), FilterAll, 1, 10, StateAny)
			return expect(len(vms), 10, err)
		}},
		{"Document", cannedText("<DOCUMENT><ID>7</ID>" + head + "<TYPE>100</TYPE>" + templateText("", body) + "</DOCUMENT>"), func(s *Session) error {
			document, err := s.Document(b.Context(), 7)
			return expect(len(document.Body), len(body), err)
		}},
		{"Networks", cannedText("<VNET_POOL>" + strings.Repeat(network, 1000) + "</VNET_POOL>"), func(s *Session) error {
			networks, err := s.Networks(b.Context(), FilterAll)
			return expect(len(networks), 1000, err)
		}},
		{"UpdateDocument", "<i4>7</i4>", func(s *Session) error { return s.UpdateDocument(b.Context(), 7, body) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			session := cannedSession(b, bench.answer)
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.call(session); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func expect(got, want int, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("%d, not %d", got, want)
	}
	return err
}
