package opennebula

import (
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

func TestVMDetails(t *testing.T) {
	const text = `<VM><ID>7</ID><NAME>db_0</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><STIME>1800000000</STIME>
		<TEMPLATE><NIC><NETWORK><![CDATA[a]]></NETWORK><IP><![CDATA[10.0.0.1]]></IP><IP6_GLOBAL>2001:db8::1</IP6_GLOBAL></NIC><DISK/>
			<NIC><IP>10.0.0.1</IP></NIC><NIC><IP>10.0.0.2</IP></NIC></TEMPLATE>
		<USER_TEMPLATE><ERROR><![CDATA[no <space>]]></ERROR><READY>YES</READY></USER_TEMPLATE>
		<HISTORY_RECORDS><HISTORY><HOSTNAME>host1</HOSTNAME></HISTORY></HISTORY_RECORDS></VM>`
	vm := VMDetails{}
	r := onexml.New([]byte(text))
	r.Root()
	vm.read(r)
	if !slices.Equal(vm.IPs, []string{"10.0.0.1", "2001:db8::1", "10.0.0.2"}) || vm.Error != "no <space>" || !vm.Started.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("got %+v", vm)
	}
}
