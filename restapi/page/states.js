// The states of services, roles and VMs, and the few kinds into which the page sorts them:
// each kind has a sign and a colour.

export const states = [
  "FAILED_DEPLOYING", "FAILED_SCALING", "FAILED_UNDEPLOYING", "FAILED_DEPLOYING_NETS", "FAILED_UNDEPLOYING_NETS", "WARNING",
  "PENDING", "DEPLOYING_NETS", "DEPLOYING", "SCALING", "COOLDOWN", "HOLD", "RUNNING", "UNDEPLOYING", "UNDEPLOYING_NETS", "DONE",
];

export function kindOf(name) {
  if (name.startsWith("FAILED")) return "failed";
  if (name === "RUNNING") return "running";
  if (name === "WARNING") return "warning";
  if (name === "COOLDOWN" || name === "HOLD") return "waiting";
  if (name === "DONE" || name === "DELETED" || name.startsWith("UNKNOWN")) return "done";
  return "working";
}

export const words = (name) => name.replaceAll("_", " ").toLowerCase();
