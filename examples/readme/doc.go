// Package readme is tests: the programs in README.md compile, the configuration starts a
// server, the event is one, and the files that it names are there.
package readme
