// Package faults has no code, only the fault suite: the real endpoint, behind a hub,
// over real sockets, against receivers that misbehave. One command prints its table:
//
//	go test -v -run TestFaults ./internal/faults
//
// With -args -long there are more events to a fault, and tighter limits.
package faults
