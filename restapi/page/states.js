// The states of services and roles, by OneFlow's numbers, and the few kinds
// into which the page sorts them: each kind has a sign and a colour.

const serviceNames = [
  "PENDING", "DEPLOYING", "RUNNING", "UNDEPLOYING", "WARNING", "DONE", "FAILED_UNDEPLOYING", "FAILED_DEPLOYING", "SCALING",
  "FAILED_SCALING", "COOLDOWN", "DEPLOYING_NETS", "UNDEPLOYING_NETS", "FAILED_DEPLOYING_NETS", "FAILED_UNDEPLOYING_NETS", "HOLD",
];
const roleNames = [...serviceNames.slice(0, 11), "HOLD"];

export const serviceState = (number) => serviceNames[number] ?? `UNKNOWN_${number}`;
export const roleState = (number) => roleNames[number ?? 0] ?? `UNKNOWN_${number}`;

export function kindOf(name) {
  if (name.startsWith("FAILED")) return "failed";
  if (name === "RUNNING") return "running";
  if (name === "WARNING") return "warning";
  if (name === "COOLDOWN" || name === "HOLD") return "waiting";
  if (name === "DONE" || name === "DELETED" || name.startsWith("UNKNOWN")) return "done";
  return "working";
}

export const words = (name) => name.replaceAll("_", " ").toLowerCase();
