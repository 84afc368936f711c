// Package comparison has only tests. They run a stock distribution v3 server that
// reports everything twice, by its own notifications and by this library's
// middleware, and compare the two streams of events field by field. Every difference
// that there may be has a name and a reason in the table of differences_test.go.
package comparison
