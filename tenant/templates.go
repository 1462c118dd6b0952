package tenant

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/terminal"
)

func newTemplateList(t tool) *cobra.Command {
	cmd := t.command(help{
		"list", "List the service templates that you may see", "", "flowjet template list\nflowjet template list -o wide",
	}, terminal.ListFormats, cobra.NoArgs, func(ctx context.Context, c *console, api *client.Client, _ []string) error {
		list, err := api.Templates(ctx)
		if err != nil {
			return err
		}
		found := terminal.Listing{Value: list, Head: []string{"ID", "NAME", "OWNER", "ROLES", "INPUTS", "NETWORKS", "GROUP", "DESCRIPTION"}, Narrow: 6, None: "There are no service templates that you may see."}
		for _, each := range list {
			var roles []string
			inputs := len(each.Inputs)
			for _, role := range each.Roles {
				roles = append(roles, fmt.Sprintf("%s:%d", role.Name, role.Cardinality))
				inputs += len(role.Inputs)
			}
			found.Rows = append(found.Rows, []string{
				strconv.Itoa(each.ID), each.Name, each.Owner, terminal.Abridged(strings.Join(roles, " "), mostShown), strconv.Itoa(inputs), strconv.Itoa(len(each.Networks)), each.Group, each.Description,
			})
		}
		return c.List(found)
	})
	cmd.Aliases = []string{"ls"}
	return cmd
}

func oneTemplate(ctx context.Context, api *client.Client, word string) (schema.Template, error) {
	id, err := template.find(ctx, api, word)
	if err != nil {
		return schema.Template{}, err
	}
	list, err := api.Templates(ctx)
	if err != nil {
		return schema.Template{}, err
	}
	at := slices.IndexFunc(list, func(each schema.Template) bool { return each.ID == id })
	if at < 0 {
		return schema.Template{}, terminal.ExitNotFound.Because(fmt.Errorf("there is no service template %d that you may see: `flowjet template list` lists them", id))
	}
	return list[at], nil
}

func newTemplateShow(t tool) *cobra.Command {
	cmd := t.command(help{
		"show TEMPLATE", "Show a service template: its roles, user inputs and networks",
		"-o json and -o yaml print its attributes in the form that create and update accept.",
		"flowjet template show web\nflowjet template show 7 -o yaml > web.yaml",
	}, terminal.ShowFormats, cobra.ExactArgs(1), func(ctx context.Context, c *console, api *client.Client, args []string) error {
		if c.Structured() {
			id, err := template.find(ctx, api, args[0])
			if err != nil {
				return err
			}
			body, _, err := api.Body(ctx, template.at(id))
			if err != nil {
				return err
			}
			return c.Show(body)
		}
		shown, err := oneTemplate(ctx, api, args[0])
		if err != nil {
			return err
		}
		c.Title("Service template %d  %s", shown.ID, shown.Name)
		c.Say("owner  %s (group %s)", terminal.Printable(shown.Owner), terminal.Printable(shown.Group))
		if shown.Description != "" {
			c.Say("%s", terminal.Printable(shown.Description))
		}
		var roles, asked [][]string
		add := func(what string, inputs []schema.Input) {
			for _, input := range inputs {
				asked = append(asked, []string{what + input.Name, input.Type, yesOrNo[input.Mandatory], cmp.Or(input.Default, "-"), cmp.Or(strings.Join(input.Options, ","), "-"), input.Description})
			}
		}
		add("", shown.Inputs)
		for _, role := range shown.Roles {
			roles = append(roles, []string{role.Name, strconv.Itoa(role.Cardinality), bound(role.Min) + "-" + bound(role.Max), cmp.Or(strings.Join(role.Parents, ","), "-")})
			add(role.Name+".", role.Inputs)
		}
		c.Say("")
		c.Table([]string{"ROLE", "VMS", "FROM-TO", "PARENTS"}, roles)
		c.Section([]string{"INPUT", "TYPE", "NEEDED", "DEFAULT", "OF", "ABOUT"}, asked)
		var networks [][]string
		for _, network := range shown.Networks {
			networks = append(networks, []string{network.Name, yesOrNo[network.Mandatory], cmp.Or(strings.TrimSpace(network.From+" "+network.Of), "-"), network.Description})
		}
		c.Section([]string{"NETWORK", "NEEDED", "DEFAULT", "ABOUT"}, networks)
		return nil
	})
	cmd.ValidArgsFunction = t.arguments(template.names)
	return cmd
}

var yesOrNo = map[bool]string{true: "yes", false: "no"}

func bound(number *int) string {
	if number == nil {
		return ""
	}
	return strconv.Itoa(*number)
}

func newTemplateCreate(t tool) *cobra.Command {
	var name string
	cmd := t.changing(help{
		"create FILE", "Create a service template", "FILE is YAML or JSON; - is standard input. docs/services.md describes the attributes.",
		"flowjet template create web.yaml\nflowjet template show web -o yaml | flowjet template create - --name web2",
	}, cobra.ExactArgs(1), can{}, []completion{nil}, func(_ context.Context, _ *client.Client, args []string) (change, error) {
		body, err := readFile(args[0])
		if err != nil {
			return change{}, err
		}
		asked := change{kind: template, method: http.MethodPost, path: template.path, body: body, makes: true, done: "it is created"}
		if name == "" {
			return asked, nil
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil {
			return change{}, err
		}
		object["name"], err = json.Marshal(name)
		asked.body = object
		return asked, err
	})
	cmd.Flags().StringVar(&name, "name", "", "`NAME` to use instead of that in FILE")
	return cmd
}

func newTemplateClone(t tool) *cobra.Command {
	var copies farther
	cmd := t.changing(help{
		"clone TEMPLATE NAME", "Copy a service template under another name", "With --vm-templates the VM templates of its roles are copied too, with --images their images as well.",
		"flowjet template clone web web2\nflowjet template clone 7 web2 --vm-templates",
	}, cobra.ExactArgs(2), can{}, []completion{template.names, noOffer}, func(ctx context.Context, api *client.Client, args []string) (change, error) {
		id, err := template.find(ctx, api, args[0])
		asked := act("clone", map[string]any{"name": args[1], "recursive": copies.word()}, "it is a copy of "+strconv.Itoa(id))
		asked.kind, asked.id, asked.path, asked.makes = template, id, template.at(id)+asked.path, true
		return asked, err
	})
	copies.addFlags(cmd, "copy")
	return cmd
}

func newTemplateDelete(t tool) *cobra.Command {
	var along farther
	cmd := t.acting(template, help{
		"delete TEMPLATE", "Delete a service template", "Services created from it stay. With --vm-templates the VM templates of its roles are deleted too, with --images their images as well.",
		"flowjet template delete web\nflowjet template delete 7 --vm-templates",
	}, cobra.ExactArgs(1), can{match: true, several: true}, nil, func([]string) (change, error) {
		return change{method: http.MethodDelete, body: map[string]any{"delete_type": along.word()}, done: "it is deleted"}, nil
	})
	along.addFlags(cmd, "delete")
	return cmd
}

// farther is how far a change of a template reaches beyond it.
type farther struct{ vmTemplates, images bool }

func (f *farther) addFlags(cmd *cobra.Command, verb string) {
	cmd.Flags().BoolVar(&f.vmTemplates, "vm-templates", false, verb+" the VM templates of its roles, too")
	cmd.Flags().BoolVar(&f.images, "images", false, verb+" their images as well")
}

// word returns the API's word for it.
func (f *farther) word() string {
	switch {
	case f.images:
		return "all"
	case f.vmTemplates:
		return "templates"
	}
	return "none"
}
