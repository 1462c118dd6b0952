package opennebula_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// What some users have made too large to be read at once hides nothing of others': neither
// VMs in between, nor what is measured, nor services.
func TestOthersLargeObjectsHideNothing(t *testing.T) {
	simulated, err := sim.New(sim.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = simulated.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer simulated.Stop(context.Background()) //nolint:errcheck // the test's end
	credentials, err := opennebula.ParseCredentials(simulated.ServerCredentials())
	if err != nil {
		t.Fatal(err)
	}
	client := opennebula.NewClient(opennebula.Config{Endpoint: simulated.Endpoint(), Credentials: credentials})
	defer client.Close()
	alice, mallory := client.For("alice"), client.For("oneadmin")
	var ids, documents []int
	large := strings.Repeat("x", 100_000)
	for i := range 12 {
		id, err := alice.InstantiateTemplate(t.Context(), 0, "", false, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		if id, err = alice.AllocateDocument(t.Context(), spec.DocumentTypeService, "a", []byte(`{"name":"a"}`)); err != nil {
			t.Fatal(err)
		}
		documents = append(documents, id)
		if i%2 == 0 {
			if _, err = mallory.InstantiateTemplate(t.Context(), 0, "", false, "X=\""+large+"\"\n"); err != nil {
				t.Fatal(err)
			}
			if _, err = mallory.AllocateDocument(t.Context(), spec.DocumentTypeService, "m", []byte(`{"name":"`+large+`"}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	client.Limit(300_000)
	vms, err := client.Server().FetchVMs(t.Context(), spec.Service{}, ids)
	if missing := slices.DeleteFunc(slices.Clone(ids), func(id int) bool { return !vms[id].Gone() }); err != nil || len(missing) > 0 {
		t.Errorf("the VMs %v are missing: %v", missing, err)
	}
	if details, err := client.Server().Details(t.Context(), ids); err != nil || len(details) != len(ids) {
		t.Errorf("%d VMs are shown: %v", len(details), err)
	}
	if _, err := client.Server().Samples(t.Context(), [][]int{ids}, func(one.VM) []string { return []string{"CPU"} }); err != nil {
		t.Errorf("measuring: %v", err)
	}
	seen := 0
	err = client.Server().DocumentPages(t.Context(), spec.DocumentTypeService, opennebula.FilterAll, 500, func(page []opennebula.Document) error {
		seen += len(page)
		return nil
	})
	if err != nil || seen != len(documents)*3/2 {
		t.Errorf("%d documents are visited: %v", seen, err)
	}
	listed, err := client.Server().Documents(t.Context(), spec.DocumentTypeService, opennebula.FilterAll)
	if err != nil || len(listed) != len(documents)*3/2 {
		t.Errorf("%d documents are listed: %v", len(listed), err)
	}
	for _, document := range listed {
		if isLarge := document.Name == "m"; isLarge != (document.Body == nil) {
			t.Errorf("document %d (%s) is listed with %d bytes", document.ID, document.Name, len(document.Body))
		}
	}
}
