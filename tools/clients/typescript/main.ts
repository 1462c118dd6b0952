// This program drives a running Flowjet through a service's life with the types that
// were generated from its OpenAPI document, as ../go does.
//
// Usage: node dist/main.js URL USER PASSWORD

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const [url, user, password] = process.argv.slice(2);
if (!url || !user || !password) {
  console.error("usage: node dist/main.js URL USER PASSWORD");
  process.exit(2);
}
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` } });

function must<T>(what: string, answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.error !== undefined) throw new Error(`${what}: ${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data as T;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within a minute`);
}

const body: components["schemas"]["ServiceTemplateBody"] = {
  name: "typed",
  deployment: "straight",
  roles: [{ name: "web", type: "vm", template_id: 0, cardinality: 1, min_vms: 1, max_vms: 3, cooldown: 1 }],
};
const template = must("create a template", await api.POST("/flowjet/v1/service_template", { body }));
const templateID = Number(template.DOCUMENT.ID);

const refused = await api.POST("/flowjet/v1/service_template", { body: { name: "", roles: [] } });
if (refused.error?.status !== 400 || !refused.error.detail) throw new Error(`a template without a name: ${JSON.stringify(refused.error)}`);

const instantiate = { params: { path: { id: templateID } }, body: { action: { perform: "instantiate" as const } } };
const plan = must("plan", await api.POST("/flowjet/v1/service_template/{id}/action", { ...instantiate, params: { ...instantiate.params, query: { dry_run: true } } }));
if (!plan || !("ends_in" in plan) || plan.ends_in !== "RUNNING") throw new Error(`the plan: ${JSON.stringify(plan)}`);
const made = must("instantiate", await api.POST("/flowjet/v1/service_template/{id}/action", { ...instantiate, params: { ...instantiate.params, header: { "Idempotency-Key": "generated-typescript" } } }));
if (!made || !("DOCUMENT" in made)) throw new Error(`instantiate: ${JSON.stringify(made)}`);
const path = { id: Number(made.DOCUMENT.ID) };

const runs = async (vms: number) => {
  const { DOCUMENT } = must("read the service", await api.GET("/flowjet/v1/service/{id}", { params: { path } }));
  return DOCUMENT.TEMPLATE.BODY.state === 2 && DOCUMENT.TEMPLATE.BODY.roles[0]?.nodes?.length === vms;
};
await until("the service to run", () => runs(1));
must("scale", await api.POST("/flowjet/v1/service/{id}/scale", { params: { path }, body: { role_name: "web", cardinality: 2 } }));
await until("two VMs to run", () => runs(2));
const why = must("explain", await api.GET("/flowjet/v1/services/{id}/why", { params: { path } }));
if (why.state !== "RUNNING") throw new Error(`why: ${JSON.stringify(why)}`);
must("undeploy", await api.DELETE("/flowjet/v1/service/{id}", { params: { path } }));
await until("the service to end", async () => (await api.GET("/flowjet/v1/service/{id}", { params: { path } })).error?.status === 404);
must("delete the template", await api.DELETE("/flowjet/v1/service_template/{id}", { params: { path: { id: templateID } } }));
console.log("the generated TypeScript client: ok");
