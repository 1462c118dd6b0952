package main

// act is the body of an action.
func act(perform, params string) string {
	return `{"action":{"perform":"` + perform + `","params":` + params + `}}`
}

const (
	twoRoles = `{"name":"suite","deployment":"straight","roles":[` +
		`{"name":"Master","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":4,"cooldown":1},` +
		`{"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"],"cooldown":1}]}`
	running = `"state": 2, "start_time"`
	nothing = "null" // goca's body where there is none
)

// oneflowClients are OneFlow's clients, each with what it sends.
func oneflowClients() []oneflowClient {
	return []oneflowClient{goca(), terraform(), commands(), sunstone(), onegate()}
}

func goca() oneflowClient {
	return oneflowClient{Name: "goca", As: "admin", Headers: map[string]string{
		"Content-Type": "application/json; charset=utf-8", "User-Agent": "Go-http-client/1.1",
	}, Steps: []clientStep{
		{Name: "create", Method: "POST", Path: "/service_template", Body: twoRoles, Status: 201, Keep: "t"},
		{Name: "info", Method: "GET", Path: "/service_template/{t}", Body: nothing, Status: 200, Has: []string{`"NAME": "suite"`, `"TYPE": "101"`}},
		{Name: "chmod 044", Method: "POST", Path: "/service_template/{t}/action", Body: act("chmod", `{"octet":"44"}`), Status: 204},
		{Name: "bits", Method: "GET", Path: "/service_template/{t}", Body: nothing, Status: 200, Has: []string{`"OWNER_U": "0"`, `"GROUP_U": "1"`, `"OTHER_U": "1"`}},
		{Name: "chmod", Method: "POST", Path: "/service_template/{t}/action", Body: act("chmod", `{"octet":"777"}`), Status: 204},
		{Name: "chown user only", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"group_id":-1,"owner_id":2}`), Status: 204},
		{Name: "owner", Method: "GET", Path: "/service_template/{t}", Body: nothing, Status: 200, Has: []string{`"UID": "2"`, `"GID": "0"`}},
		{Name: "chown group only", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"group_id":1,"owner_id":-1}`), Status: 204},
		{Name: "chown nothing", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"group_id":-1,"owner_id":-1}`), Status: 204},
		{Name: "group", Method: "GET", Path: "/service_template/{t}", Body: nothing, Status: 200, Has: []string{`"UID": "2"`, `"GID": "1"`}},
		{Name: "update", Method: "POST", Path: "/service_template/{t}/action", Body: act("update", `{"append":true,"template_json":"{\"description\":\"d\"}"}`), Status: 204},
		{Name: "rename", Method: "POST", Path: "/service_template/{t}/action", Body: act("rename", `{"name":"renamed"}`), Status: 204},
		{Name: "clone", Method: "POST", Path: "/service_template/{t}/action", Body: act("clone", `{"name":"copy","recursive":false}`), Status: 201, Keep: "c"},
		{Name: "instantiate", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{}`), Status: 201, Has: []string{`"state": 0`}, Keep: "s"},
		{Name: "runs", Method: "GET", Path: "/service/{s}", Body: nothing, Status: 200, Has: []string{running}, Wait: true},
		{Name: "scale", Method: "POST", Path: "/service/{s}/scale", Body: `{"cardinality":2,"force":false,"role_name":"Master"}`, Status: 204},
		{Name: "scaled", Method: "GET", Path: "/service/{s}", Body: nothing, Status: 200, Has: []string{running, `"cardinality": 2`}, Wait: true},
		{Name: "scale too far", Method: "POST", Path: "/service/{s}/scale", Body: `{"cardinality":9,"force":false,"role_name":"Master"}`, Status: 500},
		{Name: "recover", Method: "POST", Path: "/service/{s}/action", Body: act("recover", `{"delete":false}`), Status: 500},
		{Name: "role action", Method: "POST", Path: "/service/{s}/role/Slave/action", Body: act("snapshot-create", `{"args":"x","number":1,"period":60}`), Status: 204},
		{Name: "role action release", Method: "POST", Path: "/service/{s}/role/Slave/action", Body: act("release", `{}`), Status: 204},
		{Name: "template by a service's id", Method: "GET", Path: "/service_template/{s}", Body: nothing, Status: 500},
		{Name: "missing", Method: "GET", Path: "/service/999999", Body: nothing, Status: 404},
		{Name: "delete", Method: "DELETE", Path: "/service/{s}", Body: nothing, Status: 204},
		{Name: "gone", Method: "GET", Path: "/service/{s}", Body: nothing, Status: 404, Wait: true},
		{Name: "delete clone and its VM template, to be able to begin again", Method: "DELETE", Path: "/service_template/{c}", Body: `{"delete_type":"templates"}`, Status: 204},
		{Name: "delete template", Method: "DELETE", Path: "/service_template/{t}", Body: nothing, Status: 204},
		{Name: "delete again", Method: "DELETE", Path: "/service_template/{t}", Body: nothing, Status: 404},
	}}
}

// terraform is the provider, which is goca with documents of its own: it compares what it has sent with what it reads.
func terraform() oneflowClient {
	client := goca()
	client.Name = "terraform"
	client.Steps = []clientStep{
		{Name: "create", Method: "POST", Path: "/service_template", Body: `{"custom_attrs":{"OLD":"O|text|of 6.x| |"},"deployment":"straight","name":"tf","networks":{"Public":"M|network|Public| |id:0"},` +
			`"roles":[{"cardinality":1,"name":"master","template_id":0,"type":"vm"},{"cardinality":1,"name":"slave","parents":["master"],"template_contents":{"NIC":[{"NAME":"N0","NETWORK_ID":"$Public"}]},"template_id":0,"type":"vm"}]}`, Status: 201, Keep: "t"},
		{Name: "owner", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"group_id":-1,"owner_id":2}`), Status: 204},
		{Name: "group", Method: "POST", Path: "/service_template/{t}/action", Body: act("chgrp", `{"group_id":0}`), Status: 204},
		{Name: "permissions", Method: "POST", Path: "/service_template/{t}/action", Body: act("chmod", `{"octet":"642"}`), Status: 204},
		{Name: "plan is empty", Method: "GET", Path: "/service_template/{t}", Body: nothing, Status: 200, Has: []string{`"custom_attrs": {"OLD": "O|text|of 6.x| |"}`, `!user_inputs`, `"UNAME": "alice"`}},
		{Name: "instantiate with roles by their place", Method: "POST", Path: "/service_template/{t}/action",
			Body: act("instantiate", `{"merge_template":{"networks_values":[{"Public":{"id":"0"}}],"roles":[{"cardinality":2},{"cardinality":1}]}}`), Status: 201, Keep: "s"},
		{Name: "owner at once", Method: "POST", Path: "/service/{s}/action", Body: act("chown", `{"group_id":-1,"owner_id":2}`), Status: 204},
		{Name: "service's permissions", Method: "POST", Path: "/service/{s}/action", Body: act("chmod", `{"octet":"640"}`), Status: 204},
		{Name: "runs, and all is the owner's", Method: "GET", Path: "/service/{s}", Body: nothing, Status: 200,
			Has: []string{running, `"NETWORK_ID": "0"`, `"cardinality": 2`, `!"UNAME": "oneadmin"`}, Wait: true},
		{Name: "some networks are missing", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{"merge_template":{"networks_values":[]}}`), Status: 400},
		{Name: "destroy service", Method: "DELETE", Path: "/service/{s}", Body: nothing, Status: 204},
		{Name: "service gone", Method: "GET", Path: "/service/{s}", Body: nothing, Status: 404, Wait: true},
		{Name: "destroy template", Method: "DELETE", Path: "/service_template/{t}", Body: nothing, Status: 204},
	}
	return client
}

func commands() oneflowClient {
	return oneflowClient{Name: "commands", As: "admin", Headers: map[string]string{
		"Accept": "*/*", "Content-Type": "application/json", "User-Agent": "OpenNebula 7.4.0 (CLI)",
	}, Steps: []clientStep{
		{Name: "list, empty", Method: "GET", Path: "/service", Status: 200, Has: []string{`{"DOCUMENT_POOL":{}}`}},
		{Name: "create", Method: "POST", Path: "/service_template", Body: twoRoles, Status: 201, Keep: "t"},
		{Name: "chown", Method: "POST", Path: "/service_template/{t}/action", Body: "{\n  \"action\": {\n    \"perform\": \"chown\",\n    \"params\": {\n      \"owner_id\": 0\n    }\n  }\n}", Status: 204},
		{Name: "clone --recursive-templates", Method: "POST", Path: "/service_template/{t}/action", Body: act("clone", `{"name":"c3","recurisve":"templates"}`), Status: 201, Has: []string{`!"template_id": 0,`}, Keep: "c"},
		{Name: "delete --delete-vm-templates", Method: "DELETE", Path: "/service_template/{c}", Body: `{"delete_type":"templates"}`, Status: 204},
		{Name: "update", Method: "PUT", Path: "/service_template/{t}", Body: twoRoles, Status: 200},
		{Name: "instantiate on hold", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{"merge_template":{"on_hold":true}}`), Status: 201, Keep: "s"},
		{Name: "holds", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{`"state": 15`, `"nodes"`}, Wait: true},
		{Name: "release", Method: "POST", Path: "/service/{s}/action", Body: act("release", `{}`), Status: 204, Wait: true},
		{Name: "runs", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running}, Wait: true},
		{Name: "release again", Method: "POST", Path: "/service/{s}/action", Body: act("release", `{}`), Status: 500},
		{Name: "delete", Method: "DELETE", Path: "/service/{s}", Status: 204},
		{Name: "instantiate", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{"merge_template":{}}`), Status: 201, Keep: "s"},
		{Name: "runs", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running}, Wait: true},
		{Name: "service action", Method: "POST", Path: "/service/{s}/action", Body: act("reboot", `{"period":86400,"number":1}`), Status: 204},
		{Name: "sched-delete", Method: "DELETE", Path: "/service/{s}/role/Master/sched_action/0", Status: 204},
		{Name: "update --append", Method: "PUT", Path: "/service/{s}", Body: `{"append":true,"template":"{\"description\":\"d\"}"}`, Status: 204},
		{Name: "add-role", Method: "POST", Path: "/service/{s}/role_action", Body: act("add_role", `{"role":"{\"name\":\"Extra\",\"type\":\"vm\",\"cardinality\":1,\"template_id\":0}","add":true}`), Status: 204},
		{Name: "added", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running, "Extra_0_"}, Wait: true},
		{Name: "remove-role", Method: "POST", Path: "/service/{s}/role_action", Body: act("remove_role", `{"role":"Extra","add":false}`), Status: 204},
		{Name: "removed", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running, "!Extra_0_"}, Wait: true},
		{Name: "recover --delete", Method: "POST", Path: "/service/{s}/action", Body: act("recover", `{"delete":true}`), Status: 204},
		{Name: "gone", Method: "GET", Path: "/service/{s}", Status: 404, Wait: true},
		{Name: "purge-done", Method: "POST", Path: "/service_pool/purge_done", Status: 204},
		{Name: "delete", Method: "DELETE", Path: "/service_template/{t}", Body: `{"delete_type":"none"}`, Status: 204},
	}}
}

func sunstone() oneflowClient {
	return oneflowClient{Name: "sunstone", As: "server", Headers: map[string]string{
		"Accept": "application/json, text/plain, */*", "Content-Type": "application/json", "User-Agent": "axios/0.25.0",
	}, Steps: []clientStep{
		{Name: "create", Method: "POST", Path: "/service_template", Body: twoRoles, Status: 201, Keep: "t"},
		{Name: "form", Method: "POST", Path: "/service_template/{t}/action", Body: act("update", `{"template_json":"{\"name\":\"suite\",\"deployment\":\"none\",\"roles\":[{\"name\":\"Master\",\"cardinality\":1,\"template_id\":0,\"type\":\"vm\",\"shutdown\":\"terminate\",\"min_vms\":1,\"max_vms\":3,\"scheduled_policies\":[{\"type\":\"CHANGE\",\"adjust\":\"2\",\"recurrence\":\"0 9 31 12 *\"}],\"template_contents\":{\"NIC\":[{\"NAME\":\"NIC_0\",\"NETWORK_ID\":\"0\",\"NIC_ALIAS\":[]}]}}]}","append":false}`), Status: 204},
		{Name: "kept", Method: "GET", Path: "/service_template/{t}", Status: 200, Has: []string{`"shutdown": "terminate"`, `"NIC_ALIAS"`, `"adjust": 2`}},
		{Name: "owner", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"owner_id":"2","group_id":"-1"}`), Status: 204},
		{Name: "group", Method: "POST", Path: "/service_template/{t}/action", Body: act("chown", `{"owner_id":"-1","group_id":"1"}`), Status: 204},
		{Name: "both", Method: "GET", Path: "/service_template/{t}", Status: 200, Has: []string{`"UID": "2"`, `"GID": "1"`}},
		{Name: "chmod by a number", Method: "POST", Path: "/service_template/{t}/action", Body: act("chmod", `{"octet":644}`), Status: 204},
		{Name: "its table of permissions", Method: "POST", Path: "/service_template/{t}/action", Body: act("chmod", `{}`), Status: 400, Has: []string{`"octet" is missing`}},
		{Name: "clone", Method: "POST", Path: "/service_template/{t}/action", Body: act("clone", `{"id":"{t}","name":"Copy","recursive":false}`), Status: 201, Keep: "c"},
		{Name: "instantiate", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{"merge_template":{"user_inputs_values":{},"name":"sun","networks":{},"networks_values":[],"roles":[{"name":"Master","type":"vm","cardinality":1,"template_id":0}]}}`), Status: 201, Keep: "s"},
		{Name: "runs", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running}, Wait: true},
		{Name: "recover without params", Method: "POST", Path: "/service/{s}/action", Body: `{"action":{"perform":"recover"}}`, Status: 500},
		{Name: "not alice's", Method: "GET", Path: "/service/{s}", As: "server for user", Status: 401},
		{Name: "action on a role", Method: "POST", Path: "/service/{s}/role/Master/action", Body: act("reboot", `{"number":"","period":""}`), Status: 204},
		{Name: "paced action on a role", Method: "POST", Path: "/service/{s}/role/Master/action", Body: act("snapshot-create", `{"args":"a","number":"1","period":"86400"}`), Status: 204},
		{Name: "no role", Method: "POST", Path: "/service/{s}/scale", Body: `{"force":false,"cardinality":2}`, Status: 500},
		{Name: "no action", Method: "POST", Path: "/service/{s}/action", Body: `{"action":{"params":{}}}`, Status: 500},
		{Name: "delete", Method: "DELETE", Path: "/service/{s}", Status: 204},
		{Name: "gone", Method: "GET", Path: "/service/{s}", Status: 404, Wait: true},
		{Name: "delete clone and its VM template, to be able to begin again", Method: "DELETE", Path: "/service_template/{c}", Body: `{"delete_type":"templates"}`, Status: 204},
		{Name: "delete template", Method: "DELETE", Path: "/service_template/{t}", Status: 204},
		{Name: "undefined", Method: "GET", Path: "/service_template/undefined", Status: 404},
	}}
}

// onegate is OneGate's server, which acts for the owners of VMs.
func onegate() oneflowClient {
	return oneflowClient{Name: "onegate", As: "server for user", Headers: map[string]string{"Accept": "*/*", "User-Agent": "OpenNebula 7.4.0 (GATE)"}, Steps: []clientStep{
		{Name: "alice's template", Method: "POST", Path: "/service_template", Body: twoRoles, As: "user", Status: 201, Keep: "t"},
		{Name: "alice's service", Method: "POST", Path: "/service_template/{t}/action", Body: act("instantiate", `{}`), As: "user", Status: 201, Keep: "s"},
		{Name: "service show", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running, `"UNAME": "alice"`}, Wait: true},
		{Name: "cardinality", Method: "POST", Path: "/service/{s}/scale", Body: `{"cardinality":2,"role_name":"Master","force":false}`, Status: 204},
		{Name: "scaled", Method: "GET", Path: "/service/{s}", Status: 200, Has: []string{running, `"cardinality": 2`}, Wait: true},
		{Name: "cardinality as a text", Method: "POST", Path: "/service/{s}/scale", Body: `{"cardinality":"2","role_name":"Master","force":false}`, Status: 500},
		{Name: "no such role", Method: "POST", Path: "/service/{s}/scale", Body: `{"cardinality":1,"role_name":"Nope","force":false}`, Status: 500},
		{Name: "oneadmin sees it too", Method: "GET", Path: "/service/{s}", As: "server", Status: 200},
		{Name: "delete", Method: "DELETE", Path: "/service/{s}", As: "user", Status: 204},
		{Name: "gone", Method: "GET", Path: "/service/{s}", Status: 404, Wait: true},
		{Name: "delete template", Method: "DELETE", Path: "/service_template/{t}", As: "user", Status: 204},
	}}
}
