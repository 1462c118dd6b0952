// Package tenant is what a user of OpenNebula types: flowjet service and template, over
// Flowjet's HTTP API, with OpenNebula's own credentials.
//
// A change can be tried without effect, is made once however often it is sent, and can be
// waited for. People get tables and sentences; -o json, yaml and name are for scripts.
package tenant
