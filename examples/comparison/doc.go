// Package comparison has only tests. Most run a stock distribution v3 server that
// reports everything twice, and compare the two streams of events field by field.
//
// TestComparison has the server's own notifications beside this library's middleware,
// and TestHandler and TestRandom have the middleware, inside the server, beside the
// handler of package ociregistry, around it. Every difference that there may be has a
// name and a reason, in differences_test.go and handlerdifferences_test.go, and one that
// does not occur any more fails the test.
//
// TestAnswersAreTheSame compares what clients get: the answers of a stock server and of
// go-containerregistry's, byte for byte, with the handler around it or the middleware
// inside, and without. What is chance in them has a name, too, in tap_test.go.
package comparison
