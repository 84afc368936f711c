// Package oracle holds package signature against the Go library of the Standard
// Webhooks project, both ways. It has tests only, and a module of its own, so that
// nobody who imports the library gets the other one with it.
//
// Version 0.0.1 of theirs, the only release there is, knows one secret and v1. It has
// no Ed25519 (v1a), no whsk_ or whpk_ keys and no several keys; signatures of versions
// it does not know it passes over. For v1a the oracles are a signature out of the
// tests of their next version, the key of RFC 8032, 7.1 with a signature made by
// OpenSSL, and crypto/ed25519: all in the tests of package signature, and here.
package oracle
