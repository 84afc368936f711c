// Package stocktest has the tests of a stock distribution server whose hub is on JetStream. They
// are a module of their own, so that nobody who builds such a server has NATS servers among
// the modules.
package stocktest
