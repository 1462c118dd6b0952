// Package migrate takes services over from a stopped OneFlow, and gives them
// back to it.
//
// Both ways the services stay where they are: in oned's documents, which OneFlow
// and Flowjet read alike. Taking over means to wake each of them once; giving back
// means to write down what Flowjet has decided and not yet saved.
//
// Safety: nothing is changed before the plan was shown; a document that somebody
// else has changed since is left alone. Liveness: neither way waits for VMs.
package migrate
