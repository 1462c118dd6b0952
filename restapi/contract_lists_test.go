package restapi

// better are the recorded calls that are answered otherwise on purpose, by
// their line from 1 on, with the status that they get here and why (section 5
// of the contract unless it says something else).
var better = map[int]struct {
	status int
	why    string
}{
	5:   {404, "an id that is not a number is the id of nothing"},
	10:  {400, "bad JSON is bad input"},
	23:  {400, "an unknown parent would hang the service"},
	24:  {400, "a role that is its own parent would hang the service"},
	25:  {400, "a circle of parents would hang the service"},
	39:  {400, "an array is bad input"},
	48:  {400, "an attribute that cannot be changed is not left unchanged in silence"},
	49:  {400, "update without what to update"},
	52:  {400, "rename without a name"},
	54:  {400, "chmod without an octet"},
	57:  {400, "chgrp without a group"},
	61:  {400, "an unknown action"},
	63:  {400, "bad JSON is bad input"},
	64:  {400, "an empty action is bad input"},
	114: {400, "an action without its params is bad input"},
	117: {400, "an unknown action of a role is not passed over in silence"},
	130: {204, "a service in WARNING can be scaled"},
	131: {204, "a service in WARNING can be recovered"},
	158: {400, "a circle of parents would hang the service"},
	159: {404, "the template with the circle was refused"},
	160: {404, "the template with the circle was refused"},
	161: {404, "the template with the circle was refused"},
}

// meantDifference is a part of an answer that is otherwise on purpose.
type meantDifference struct{ path, why string }

const scaledInWarning = "line 130 scaled the role, which OneFlow refuses in WARNING"

// otherBodies are the lines whose answers differ in what they say.
var otherBodies = map[int][]meantDifference{
	132: scaledMaster,
	133: scaledMaster,
}

var scaledMaster = []meantDifference{
	{".TEMPLATE.BODY.roles[0].cardinality", scaledInWarning},
	{".TEMPLATE.BODY.roles[0].last_vmname", scaledInWarning},
	{".TEMPLATE.BODY.roles[0].nodes", scaledInWarning},
}
