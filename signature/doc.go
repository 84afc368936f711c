// Package signature signs webhooks and verifies them, by the Standard Webhooks
// scheme (https://github.com/standard-webhooks/standard-webhooks, version 1.0.0).
//
// The sender has a Signer, which sets three headers on each attempt:
//
//	key, err := signature.LoadKey("file:/run/secrets/webhook") // whsec_…
//	signer, err := signature.NewSigner(key)
//	err = signer.Sign(req.Header, id, time.Now(), body)
//
// The receiver has a Verifier with the same key, or with the public half of it:
//
//	verifier, err := signature.NewVerifier(signature.VerifierConfig{Keys: []signature.Key{key}})
//	err = verifier.Verify(r.Header, body) // the body as it came, before any decoding
//
// # What is signed
//
// The bytes id.timestamp.body: what Webhook-Id and Webhook-Timestamp say, and the
// body, with a dot between them. Webhook-Signature has one signature for each key of
// the sender's, separated by spaces: "v1," and the base64 of an HMAC-SHA256 (RFC
// 2104), or "v1a," and the base64 of an Ed25519 signature (RFC 8032).
//
// The id is the same on every attempt, the timestamp is that of the attempt.
// EnvelopeID makes an id that follows from the events of an envelope.
//
// # Rotation
//
// To replace a key without a gap: add the new key to the receiver's, then to the
// sender's; take the old one from the sender's, then from the receiver's. One
// signature that one key matches is enough.
//
// # What a verified webhook is
//
// It comes from someone who has the key, nobody changed its id, time or body, and it
// was sent within the tolerance. It may still come twice: as a retry, or from someone
// who recorded it. Receivers deduplicate on the events' IDs.
//
// # Secrets
//
// A Key does not show its secret: not through fmt, not through an encoder, and not to
// what walks through unexported fields, as a test framework does to show a
// difference. No error of this package has a secret in it, nor a signature that would
// have been right.
package signature
