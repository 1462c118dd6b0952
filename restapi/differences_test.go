package restapi

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// difference is a way in which Flowjet answers otherwise than OneFlow 7.4, on purpose: a row of the table in docs/api.md.
type difference struct{ what, oneflow, flowjet string }

// Every deliberate difference. The recorded calls that show one are listed below; the others are too rare in a recording,
// or show in what a call does and not in its answer.
var (
	badJSON       = &difference{"bad JSON, an array, an empty action, an action without its params", "500 and a backtrace, or 200", "400"}
	unknownAction = &difference{"an unknown action of a template or a role, a missing parameter of a template's action", "200 or 204, and nothing done", "400"}
	hangs         = &difference{"a cycle of parents, a role that is its own parent, an unknown parent", "accepted; the service hangs", "400, naming the roles"}
	immutable     = &difference{"changing what cannot be changed in a template", "204, and nothing done", "400"}
	noNumber      = &difference{"an id that is not a number", "500, or 400 for a scheduled action", "404"}
	warning       = &difference{"scaling or recovering a service in WARNING", "refused", "done"}
	onlyWaits     = &difference{"recovering a service in transition of which nothing has failed and no request is open", "204, and nothing done", "500, with what it waits for"}
	wayBack       = &difference{"scaling a service that failed to deploy or scale, removing a role of it; undeploying one that failed", "refused; it can only be recovered", "done: what runs is kept ([services.md](services.md#states-and-the-ways-out-of-them))"}
	notThereYet   = &difference{"an action of a template that is missing, or that the user may not do, or that oned refuses", "204, and nothing done", "404, 401, or as refused"}
	cloneMissing  = &difference{"cloning a template that is missing", "500", "404"}
	noCardinality = &difference{"scaling without `cardinality`, or with null", "scales to 0, or 500", "400"}
	oldDialog     = &difference{"a body that OneFlow could not read for its encoding", "500", "done"}

	noForce        = &difference{"scaling without `force`", "500", "done within `min_vms` and `max_vms`"}
	deleteType     = &difference{"deleting a template with an unknown `delete_type`", "deletes the VM templates, too", "400"}
	shortOctet     = &difference{"`chmod` with less than three digits: `\"44\"`", "read from the left: 440", "leading zeros are added: 044"}
	chownGroup     = &difference{"`chown` of a template without `group_id`", "the group becomes oneadmin", "the group stays"}
	otherTarget    = &difference{"a server user's token for one user in a session for another, or for a group that the user is not in", "accepted", "401"}
	refusedServer  = &difference{"any call while oned refuses the server user (serveradmin)", "403", "503 with `Retry-After` and the reason"}
	optionalInput  = &difference{"an optional user input without a value", "400", "its default, or none"}
	unknownNetwork = &difference{"a NIC on a `$NETWORK` that nobody declares", "accepted; the service fails to deploy", "400, naming role and network (`networks` can come with `merge_template` where the template is OneFlow 6's)"}
	notReadable    = &difference{"contents, inputs and networks' `extra` that oned cannot read, a reservation without `SIZE`", "accepted; the service fails to deploy", "400, naming the attribute"}
	networkText    = &difference{"a network whose description contains `|`, or that is declared in another form", "accepted; its source is not found unless `networks_values` is given", "400; a template that OneFlow has stored so can be instantiated with `networks_values`"}
	fraction       = &difference{"a fraction, or more than 32 bits, where a whole number belongs, such as an `adjust` of 1.5; a `template_id` below 0", "accepted; the fraction is cut off", "400"}
	notOctal       = &difference{"`chmod` with the digits 8 and 9", "accepted: 999 is 111", "400, or 500 for a service"}
	commas         = &difference{"commas between the attributes in a network's `extra`, as Sunstone's form writes them", "oned's error, and a service in FAILED_DEPLOYING", "the network is made"}
	networkRefused = &difference{"instantiating with a network that oned does not make", "oned's error, and a service in FAILED_DEPLOYING", "201; the service becomes FAILED_DEPLOYING_NETS, and its log has the reason"}
	ownNetworks    = &difference{"`chown` and `chgrp` of a service with networks that it has made", "the networks stay the former owner's", "they go along: the new owner's service deletes them in the end"}
	namedNetwork   = &difference{"a reservation with a `NAME` in its `extra`", "has that name; two services cannot have it at once", "is called `<network>-<service id>`, as others are"}
	joinedNetwork  = &difference{"a reservation with a `NETWORK_ID` in its `extra`", "adds its addresses to that network, and deletes it in the end", "400"}
	unknownRole    = &difference{"a role in `merge_template` that the template does not have", "silently ignored", "400, unless it is a whole role, which is added"}
	startNumber    = &difference{"a policy's `start_time` that is a number", "400", "unix seconds, as the same number in a string"}
	partlyHeld     = &difference{"a service of which some roles run and the others are on hold", "stays DEPLOYING", "is in HOLD"}
	grouping       = &difference{"a policy's expression with `!`, `&&` and `\\|\\|` without parentheses, such as `A > 1 && B > 1 \\|\\| C > 1`", "read from the right: `A > 1 && (B > 1 \\|\\| C > 1)`", "`!` binds strongest, then `&&`: `(A > 1 && B > 1) \\|\\| C > 1`; parentheses mean the same to both"}
	otherStart     = &difference{"a policy's `start_time` that is a time of day only, or digits in another order than `2030-01-31`", "accepted", "400"}
	longName       = &difference{"a name of more than 128 characters, an empty one, or one with control characters, `<` or `&`", "500, or accepted", "400; `rename` to a name that oned refuses, such as one with `/` or a quote: 500 with its reason, also of a template, where OneFlow answers 204 and changes nothing"}
	emptyName      = &difference{"an empty `name` in `merge_template`", "the service is called `document-<id>`", "it has the template's name"}
	addedRole      = &difference{"`add_role` with a VM template that oned does not instantiate", "500; the service fails to deploy", "204; the service fails to deploy, and its log has the reason"}
	unchecked      = &difference{"attributes that OneFlow does not check: `min_vms`, `cooldown`, `shutdown_action` and policies of a role of type `vr`; `custom_attrs`, `custom_attrs_values`, `networks_values`", "accepted, whatever they are", "400 if they are not valid"}
	lastRole       = &difference{"removing the last role of a service", "the service is deleted, too", "the service stays, RUNNING without roles"}
	bothForms      = &difference{"roles that have `vm_template` of OneFlow 6 beside `template_id`", "made from `vm_template`, or from 0 if it cannot be read", "made from `template_id`"}
	asUser         = &difference{"`AS_UID` in a VM template or in contents", "the VM belongs to that user", "the VM belongs to the service's owner, as all of its VMs"}
	brokenDocument = &difference{"one service's unreadable document", "breaks the list for everybody", "only that service is affected, and its log has the reason"}
)

// differences are in the order of the table.
var differences = []*difference{
	badJSON, unknownAction, hangs, immutable, noNumber, warning, onlyWaits, wayBack, notThereYet, cloneMissing, noCardinality, noForce, deleteType, shortOctet, notOctal, chownGroup,
	otherTarget, refusedServer, optionalInput, unknownNetwork, notReadable, fraction, networkText, commas, networkRefused, ownNetworks, namedNetwork, joinedNetwork, unknownRole, startNumber, partlyHeld, grouping, otherStart, longName, emptyName, unchecked, lastRole, bothForms, asUser, addedRole, oldDialog, brokenDocument,
}

// meant is a recorded call that is answered with another status on purpose.
type meant struct {
	status int
	why    *difference
}

// better are the calls of rest.jsonl that are answered otherwise, by their line from 1 on.
var better = map[int]meant{
	5: {404, noNumber}, 10: {400, badJSON}, 23: {400, hangs}, 24: {400, hangs}, 25: {400, hangs}, 39: {400, badJSON}, 48: {400, immutable},
	49: {400, unknownAction}, 52: {400, unknownAction}, 54: {400, unknownAction}, 57: {400, unknownAction}, 61: {400, unknownAction},
	63: {400, badJSON}, 64: {400, badJSON}, 114: {400, badJSON}, 117: {400, unknownAction}, 130: {204, warning}, 131: {204, warning},
	158: {400, hangs}, 159: {404, hangs}, 160: {404, hangs}, 161: {404, hangs},
}

// clientDifferences are those of clients.jsonl.
var clientDifferences = map[int]meant{
	37: {404, notThereYet}, 39: {404, notThereYet}, 40: {404, notThereYet}, 45: {404, notThereYet}, 48: {404, cloneMissing}, 49: {401, notThereYet},
	86: {400, unknownAction}, 92: {400, unknownAction}, 97: {400, badJSON},
	150: {404, notThereYet}, 152: {404, notThereYet}, 156: {404, cloneMissing}, 165: {401, notThereYet}, 264: {204, warning},
	319: {404, notThereYet}, 327: {404, notThereYet}, 335: {404, cloneMissing}, 351: {401, notThereYet}, 365: {204, oldDialog},
	369: {400, noCardinality}, 393: {400, unknownAction}, 398: {400, badJSON}, 400: {204, warning}, 429: {400, noCardinality},
}

// meantDifference is a part of an answer that is otherwise on purpose.
type meantDifference struct {
	path string
	why  *difference
}

// otherBodies are the lines of rest.jsonl whose answers differ in what they say: line 130 has scaled the role.
var otherBodies = map[int][]meantDifference{132: scaledMaster, 133: scaledMaster}

var scaledMaster = []meantDifference{
	{".TEMPLATE.BODY.roles[0].cardinality", warning},
	{".TEMPLATE.BODY.roles[0].last_vmname", warning},
	{".TEMPLATE.BODY.roles[0].nodes", warning},
}

var update = flag.Bool("update", false, "write the differences into docs/api.md")

// TestTheTableOfDifferences holds that docs/api.md tells every deliberate difference, and no other.
// `go test ./restapi -run TestTheTableOfDifferences -update` mends the page.
func TestTheTableOfDifferences(t *testing.T) {
	listed := map[*difference]bool{}
	for _, each := range differences {
		listed[each] = true
	}
	for name, lines := range map[string]map[int]meant{"rest.jsonl": better, "clients.jsonl": clientDifferences} {
		for line, each := range lines {
			if !listed[each.why] {
				t.Errorf("line %d of %s differs by %+v, which is not in the table", line, name, each.why)
			}
		}
	}
	const page, begin = "../docs/api.md", "| what | OneFlow | Flowjet |\n|---|---|---|\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ends := strings.Cut(rest, "\n\n")
	if !found || !ends {
		t.Fatalf("%s has no table of differences", page)
	}
	var table strings.Builder
	for _, each := range differences {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", each.what, each.oneflow, each.flowjet)
	}
	want := before + begin + table.String() + "\n" + after
	switch {
	case want == string(text):
	case *update:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s has another table of differences: `go test ./restapi -run TestTheTableOfDifferences -update` mends it", page)
	}
}
