package sim_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/sim"
)

// childState makes this test binary a simulator on a state file that is to be
// killed.
const childState = "SIM_TEST_STATE_FILE"

// child runs a simulator and says where it listens, until it is killed.
func child() {
	s, err := sim.New(sim.Config{StateFile: os.Getenv(childState), BootDelay: 5 * time.Millisecond})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Endpoint())
	<-context.Background().Done()
}

// TestKilledZoneForgetsNothingItAnswered kills a simulator with -9 amid its
// work, three times on one state file.
func TestKilledZoneForgetsNothingItAnswered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zone.db")
	answered := map[int]bool{}
	for range 3 {
		for _, id := range untilKilled(t, file, 40) {
			if answered[id] {
				t.Fatalf("VM id %d was given twice", id)
			}
			answered[id] = true
		}
	}
	s := start(t, sim.Config{StateFile: file})
	for id := range answered {
		awaitEndOfTrouble(t, s, id)
	}
}

// awaitEndOfTrouble brings a VM to RUNNING whose driver may have died, or to
// its end where nothing else is left.
func awaitEndOfTrouble(t *testing.T, s *sim.Sim, id int) {
	t.Helper()
	want := "RUNNING"
	switch state := stateOf(s, id); state {
	case "LCM_INIT":
		want = "DONE"
		must(t, s, "one.vm.recover", oneadmin, id, 3)
	case "PROLOG", "BOOT":
		must(t, s, "one.vm.recover", oneadmin, id, 0)
		if state = stateOf(s, id); state != want { // a VM that was PENDING goes on by itself
			must(t, s, "one.vm.recover", oneadmin, id, 2)
		}
	}
	awaitState(t, s, id, want)
}

// untilKilled makes VMs in a child process and kills it right after the last
// answer; it gives the ids that were answered.
func untilKilled(t *testing.T, file string, vms int) []int {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childState+"="+file)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "http") {
		t.Fatalf("the child said %q: %v", line, err)
	}
	var ids []int
	for range vms {
		ids = append(ids, instantiateAt(t, strings.TrimSpace(line)))
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	client.CloseIdleConnections()
	return ids
}

func instantiateAt(t *testing.T, endpoint string) int {
	t.Helper()
	body := requestBody("one.template.instantiate", oneadmin, 0, "vm", false, serviceText, false)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := bufio.NewReader(response.Body).ReadString(0)
	if raw == "" {
		t.Fatal(err)
	}
	id, err := strconv.Atoi(parseReply(t, raw).text)
	if err != nil {
		t.Fatalf("no id in %s", raw)
	}
	return id
}
