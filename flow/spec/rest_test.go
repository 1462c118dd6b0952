package spec

import "testing"

func TestUnaskedIsSure(t *testing.T) {
	for body, want := range map[string]bool{
		`{"name":"a","state":2,"roles":[{"name":"r","nodes":[{"deploy_id":1}]}]}`:       true,
		`{"name":"a","state":4,"roles":[]}`:                                             false,
		`{"name":"a","roles":[{"state":2}]}`:                                            false,
		`{"state":2,"roles":[{"min_vms":1}]}`:                                           false,
		`{"state":2,"roles":[{"scheduled_policies":[]}]}`:                               false,
		`{"state":2,"roles":[{"elasticity\u005fpolicies":[{"expression":"CPU > 1"}]}]}`: false,
		`{"state":2,"roles":[`:                                                          false,
		``:                                                                              false,
	} {
		if Unasked([]byte(body)) != want {
			t.Errorf("%s: want %t", body, want)
		}
	}
}

func TestUnscaledIsSure(t *testing.T) {
	for body, want := range map[string]bool{
		`{"name":"a","state":4,"roles":[{"name":"r"}]}`:     true,
		`{"roles":[{"elasticity_policies":[]}]}`:            false,
		`{"roles":[{"elasticity\u005fpolicies":[]}]}`:       false,
		`{"roles":[{"scheduled_policies":[{"adjust":1}]}]}`: false,
		`{"roles":[{"min_vms":1}]}`:                         false,
	} {
		if Unscaled([]byte(body)) != want {
			t.Errorf("%s: want %t", body, want)
		}
	}
}
