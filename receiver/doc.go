// Package receiver takes the events that registries send to webhooks, and writes them to a
// Sink: what distribution 2.x and 3.x, GitLab's registry and an Endpoint of this library
// send.
//
//	key, err := signature.LoadKey("file:/run/secrets/webhook")
//	…
//	hub, err := journal.Open("/var/lib/events", journal.Config{})
//	…
//	r, err := receiver.New(hub, receiver.Config{Keys: []signature.Key{key}})
//	…
//	http.Handle("/events", r)
//	…
//	err = r.Close(ctx)   // no more requests
//	err = hub.Close(ctx) // then the sink, which stays the caller's
//
// # What is guaranteed
//
// Acceptance. A request is answered by 200 only when Write of the sink has returned nil for
// every event of it: with a journal they are on disk then. Otherwise none of them counts as
// taken, and the sender sends them again.
//
// Once. An event whose ID is among the last that were taken (Config.Window) is answered by
// 200 and not written again. While the sink is being given an event, another request that
// brings it waits. What a sink took before a crash is known again if the sink is a
// [notifications.Feed], as a journal is. Duplicates are still possible, after an error of the sink, or from further
// back, and have the same ID. An event without an ID is never taken for a duplicate.
//
// Bytes. An event keeps the bytes it came in, white space and unknown fields included: a
// Receiver, a hub and an Endpoint are a relay that loses nothing.
//
// Order. The events of a request stay in order. Requests at the same time are written at
// the same time; a sender that waits for its answers has its order kept.
//
// Memory. It is bounded by Config.MaxInFlight and MaxBytes, for whoever has no key by the
// bodies alone: a signature is checked over the bytes, before anything is decoded.
//
// # Answers
//
//	200  the sink has taken the events, now or before; or there were none
//	400  can never be right: not JSON, no list of events, an event that cannot be read
//	401  no signature by one of the keys, and no allowed Authorization: which, the log says
//	405  not a POST
//	408  the body took longer than Config.Timeout
//	413  the body is larger than Config.MaxBytes, or has more than 16,384 events
//	415  another media type, or a content coding
//	422  the sink passes on (an HTTP sink) and its receiver refuses the content
//	429  behind: MaxInFlight requests, ErrFull of the sink, or no answer of it in time
//	500  another error of the sink, or its panic
//	503  closing, or the sink is closed
//
// 429 and 503 have a Retry-After. Of a refused envelope nothing is written, so that an
// Endpoint can halve it until the bad event stands alone.
//
// It needs what every server needs: http.Server.ReadHeaderTimeout, and TLS where an
// Authorization is not to be read on the way.
package receiver
