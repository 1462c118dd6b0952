// Package bench holds the benchmarks behind Flowjet's claims of speed. Each one
// measures a floor in the same run, what the same work costs without Flowjet,
// and prints the ratio, because absolute times say more about the machine.
package bench
