package sim

import (
	"encoding/json"
	"testing"

	"github.com/flowjet/flowjet/sim/internal/statefile"
)

// TestVMOfAnEarlierStateFile: where a VM's texts stand in its own record they
// are read from there, and are to be stored apart.
func TestVMOfAnEarlierStateFile(t *testing.T) {
	c := newCloud()
	err := c.restoreRecord(kindVM, 7, []byte(`{"id":7,"state":3,"template":[{"n":"CPU","v":"1"}],"user_template":[{"n":"SERVICE_ID","v":"4"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	v := c.vms[7]
	if v.Template.Text("CPU") != "1" || v.UserTemplate.Text("SERVICE_ID") != "4" {
		t.Fatalf("the VM was read as %+v", v)
	}
	change := &tx{cloud: c, dirty: map[statefile.Key]any{}}
	vms.save(change, v)
	records, err := change.records()
	if err != nil || len(records) != 2 {
		t.Fatalf("a change of it stores %v (%v), want the VM and its texts", records, err)
	}
	var stored vmTexts
	if err := json.Unmarshal(records[1].Content, &stored); err != nil || stored.Template.Text("CPU") != "1" {
		t.Errorf("its texts are stored as %s (%v)", records[1].Content, err)
	}
}
