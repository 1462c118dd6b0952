// This program drives a running Flowjet through a service's life with the client that was generated from its OpenAPI
// document: CI checks the document this way.
//
// Usage: go run . URL USER PASSWORD
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: go run . URL USER PASSWORD")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "the generated Go client:", err)
		os.Exit(1)
	}
	fmt.Println("the generated Go client: ok")
}

func run(ctx context.Context, url, user, password string) error {
	client, err := NewClientWithResponses(url, WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.SetBasicAuth(user, password)
		return nil
	}))
	if err != nil {
		return err
	}
	if health, err := client.GetHealthWithResponse(ctx); err != nil || health.JSON200 == nil || !health.JSON200.Ready {
		return unexpected("health", health, err)
	}
	template, err := create(ctx, client)
	if err != nil {
		return err
	}
	service, err := instantiate(ctx, client, template)
	if err != nil {
		return err
	}
	if err := await(ctx, client, service, running(1)); err != nil {
		return err
	}
	if err := scale(ctx, client, service); err != nil {
		return err
	}
	if err := await(ctx, client, service, running(2)); err != nil {
		return err
	}
	return remove(ctx, client, template, service)
}

func create(ctx context.Context, client *ClientWithResponses) (int, error) {
	one, most, deployment := 1, 3, DeploymentStraight
	body := ServiceTemplateBody{
		Name: "generated", Deployment: &deployment,
		Roles: []Role{{Name: "web", Type: RoleTypeVm, TemplateId: 0, Cardinality: &one, MinVms: &one, MaxVms: &most, Cooldown: &one}},
	}
	made, err := client.CreateServiceTemplateWithResponse(ctx, &CreateServiceTemplateParams{}, body)
	if err != nil || made.JSON201 == nil {
		return 0, unexpected("create a template", made, err)
	}
	id, err := strconv.Atoi(made.JSON201.DOCUMENT.ID)
	if err != nil {
		return 0, err
	}
	body.Roles = nil
	if refused, err := client.CreateServiceTemplateWithResponse(ctx, &CreateServiceTemplateParams{}, body); err != nil || refused.ApplicationproblemJSON400 == nil || refused.ApplicationproblemJSON400.Detail == "" {
		return 0, unexpected("refuse a template without roles", refused, err)
	}
	listed, err := client.ListServiceTemplatesWithResponse(ctx)
	if err != nil || listed.JSON200 == nil || len(*listed.JSON200.DOCUMENTPOOL.DOCUMENT) == 0 {
		return 0, unexpected("list templates", listed, err)
	}
	return id, nil
}

func instantiate(ctx context.Context, client *ClientWithResponses, template int) (int, error) {
	body, yes, key := TemplateAction{}, true, IdempotencyKey("generated-go")
	body.Action.Perform = TemplateActionActionPerformInstantiate
	planned, err := client.ActOnServiceTemplateWithResponse(ctx, template, &ActOnServiceTemplateParams{DryRun: &yes}, body)
	if err != nil || planned.JSON200 == nil || planned.JSON200.EndsIn != "RUNNING" {
		return 0, unexpected("plan", planned, err)
	}
	var made Service
	for range 2 { // the second time with the same key makes nothing
		answer, err := client.ActOnServiceTemplateWithResponse(ctx, template, &ActOnServiceTemplateParams{IdempotencyKey: &key}, body)
		if err != nil || answer.JSON201 == nil {
			return 0, unexpected("instantiate", answer, err)
		}
		if made, err = answer.JSON201.AsService(); err != nil {
			return 0, err
		}
	}
	listed, err := client.ListServicesWithResponse(ctx)
	if err != nil || listed.JSON200 == nil || len(*listed.JSON200.DOCUMENTPOOL.DOCUMENT) != 1 {
		return 0, unexpected("list services", listed, err)
	}
	return strconv.Atoi(made.DOCUMENT.ID)
}

// running returns a condition: the service is RUNNING with so many VMs.
func running(vms int) func(*GetServiceResponse) bool {
	return func(got *GetServiceResponse) bool {
		if got.JSON200 == nil {
			return false
		}
		body := got.JSON200.DOCUMENT.TEMPLATE.BODY
		return *body.State == 2 && len(*body.Roles[0].Nodes) == vms
	}
}

func await(ctx context.Context, client *ClientWithResponses, service int, done func(*GetServiceResponse) bool) error {
	for {
		got, err := client.GetServiceWithResponse(ctx, service, &GetServiceParams{})
		if err != nil {
			return unexpected("wait for service "+strconv.Itoa(service), got, err)
		}
		if done(got) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return unexpected("wait for service "+strconv.Itoa(service), got, ctx.Err())
		}
	}
}

func scale(ctx context.Context, client *ClientWithResponses, service int) error {
	got, err := client.GetServiceWithResponse(ctx, service, &GetServiceParams{})
	if err != nil {
		return err
	}
	current, stale := IfMatch(got.HTTPResponse.Header.Get("ETag")), IfMatch(`"stale"`)
	wanted := Scale{RoleName: "web", Cardinality: 2}
	if refused, err := client.ScaleServiceWithResponse(ctx, service, &ScaleServiceParams{IfMatch: &stale}, wanted); err != nil || refused.ApplicationproblemJSON412 == nil {
		return unexpected("scale with a stale tag", refused, err)
	}
	if done, err := client.ScaleServiceWithResponse(ctx, service, &ScaleServiceParams{IfMatch: &current}, wanted); err != nil || done.StatusCode() != http.StatusNoContent {
		return unexpected("scale", done, err)
	}
	why, err := client.ExplainServiceWithResponse(ctx, service)
	if err != nil || why.JSON200 == nil || why.JSON200.Summary == "" {
		return unexpected("explain", why, err)
	}
	return nil
}

func remove(ctx context.Context, client *ClientWithResponses, template, service int) error {
	if done, err := client.UndeployServiceWithResponse(ctx, service, &UndeployServiceParams{}); err != nil || done.StatusCode() != http.StatusNoContent {
		return unexpected("undeploy", done, err)
	}
	gone := func(got *GetServiceResponse) bool { return got.ApplicationproblemJSON404 != nil }
	if err := await(ctx, client, service, gone); err != nil {
		return err
	}
	if done, err := client.DeleteServiceTemplateWithResponse(ctx, template, &DeleteServiceTemplateParams{}, DeleteTemplate{}); err != nil || done.StatusCode() != http.StatusNoContent {
		return unexpected("delete the template", done, err)
	}
	return nil
}

func unexpected(what string, answer any, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	text, _ := json.Marshal(answer)
	return fmt.Errorf("%s: got %s", what, text)
}
