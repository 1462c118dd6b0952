// Package cluster runs Flowjet on three front-ends on one machine, each part of
// each in a process of its own: a NATS server, a worker, a bridge and an API a
// front-end, over a simulated zone of as many oneds with a leader. It is for
// trying out, and for tests, what happens when parts die or are cut off.
//
// Each front-end has an address of its own: on the loopback interface, or in a
// network namespace, where it can be cut off from the others.
//
// What is safe: a part that dies is started again, as systemd would, and a Run
// that ends leaves no process and no namespace behind. A Run that is killed
// takes its processes along on Linux, but leaves its namespaces.
package cluster
