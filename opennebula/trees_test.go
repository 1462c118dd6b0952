package opennebula

import (
	"testing"
)

func TestTreeKeepsOrderAndVectors(t *testing.T) {
	template := VMTemplate{ID: 7, Template: []byte(`<CPU><![CDATA[0.01]]></CPU><NIC><NETWORK><![CDATA[a&b]]></NETWORK></NIC><NIC><IP>1</IP></NIC><EMPTY/>`)}
	tree, err := template.Tree()
	if err != nil {
		t.Fatal(err)
	}
	const want = "CPU = \"0.01\"\nNIC = [\nNETWORK = \"a&b\"\n]\nNIC = [\nIP = \"1\"\n]\nEMPTY = \"\"\n"
	if got := tree.Text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBrokenTreeIsAnError(t *testing.T) {
	if _, err := readTree([]byte(`<VM><A>`)); err == nil {
		t.Error("XML that stops in the middle was read")
	}
	if _, err := readTree(nil); err == nil {
		t.Error("nothing was read")
	}
}
