// Package operate is what an operator types: flowjet status, service, events,
// commands, dlq and doctor. Each reads what NATS holds, and so works while no
// worker, no API and no oned is there; only `dlq retry` and `dlq drop` change
// anything.
//
// People get tables, with colours on a terminal only; `-o json` gives scripts the
// same in JSON, whose fields stay what they are: lists are arrays, what goes on
// for ever is an object a line.
package operate
