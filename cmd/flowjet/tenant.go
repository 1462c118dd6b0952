package main

import (
	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/tenant"
)

// newTenantCommands are what a user types, over the API. Operators' commands about single
// services stand beside them, told apart.
func newTenantCommands(ofOperators []*cobra.Command) []*cobra.Command {
	services, templates := tenant.Commands(tenant.Environment{Simulated: app.SimulatedUser()})
	service := terminal.Group("service", "Create, list, show, change, explain and end services")
	service.Long = service.Short + ".\n\nThe commands over the API are for every user, with OpenNebula's credentials and rights. Those over NATS see all services, also " +
		"while oned and every API are away; they need the keys of an operator."
	addGroup(service, "tenant", "Over the API, as yourself:", services...)
	addGroup(service, "operate", "Over NATS, for operators:", ofOperators...)
	template := terminal.Group("template", "Create, list, show, change and instantiate service templates")
	addGroup(template, "tenant", "Over the API, as yourself:", templates...)
	return []*cobra.Command{service, template}
}
