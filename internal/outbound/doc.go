// Package outbound decides where a webhook's connections may go, and how TLS is done
// on them.
//
// A Policy judges the address that a connection is about to be made to, after DNS:
// a name that is harmless when the configuration is read may stand for something
// else by the time it is called. NewTransport puts the policy and the TLS options
// into an http.Transport that shares nothing with the rest of the process.
package outbound
