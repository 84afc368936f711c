// Bench runs this library side by side with the notifications package of
// distribution v3, and with others where they do the same work, in one process.
//
//	go run ./bench            # everything, five rounds, a table
//	go run ./bench -json      # one JSON object a line
//	go run ./bench -short     # a smoke run: small counts, one round, no verdicts
//	go run ./bench -run 'deliver/'
//
// A round measures ours, then the ceiling, then the peers, so that noise hits all
// alike; those that write to a disk take turns within a round. What is shown is the median
// of the rounds. Ratio is the median of ours divided by the peer's of the same round: for
// a rate more is better, for a cost less.
//
// # What all have in common
//
// Events are pushes of manifests. Each has an ID of its own; otherwise there are 2,048
// different ones, each with strings of its own: digest, URL, repository (of 1000), tag, request ID, address,
// host, user agent and actor. Action, type, method and media type are constants, and the
// source is that of one node. They are made before the clock starts, and dropped by the
// writer as they are written. One goroutine writes, one event a Write, as a registry
// does. The collector runs before each clock starts.
//
// The receiver is a net/http server on 127.0.0.1 in the same process, which reads each
// body to its end and answers 200. What counts as delivered is what the sender's own
// metrics say; afterwards the receiver must have had at least as many POSTs and bytes
// as so many events take.
//
// A dead receiver takes connections and requests and never answers. Each endpoint's
// first event hangs there before the clock starts, so that deliveries take no CPU
// while something else is measured.
//
// # The rows
//
// deliver/single: events a second to one endpoint, one event an envelope; each round is
// ten small ones. The ceiling
// is a bare net/http client that posts bodies, encoded before the clock starts, one at
// a time over one connection, to the same receiver.
//
// deliver/batch: the same with the default configuration, in lots of 100,000; the
// peer has no envelopes of several. The ceiling cycles over bodies of 1024 events.
//
// deliver/10ms: the same, and the receiver takes 10 ms to answer.
//
// deliver/fanout: deliveries a second, of all ten endpoints together.
//
// write/N: the time of a Write to a hub with N endpoints, the receiver being dead.
// write/growth-N is what ten times as many endpoints, N, make of that time, and
// write/allocs-N how many allocations a Write makes. As nothing is delivered, all of it
// stays pending, and what a hub does about that is part of the time. For go-events and
// gochannel, dead are the sinks and the subscribers.
//
// call/…: what a decorated repository adds to a call of a registry handler: the
// storage is the one that a stock distribution server makes over its driver in memory,
// with its descriptor cache on; the context is that of a request to that server; there
// are three endpoints, the receiver being dead. Bridge and Listen are made anew for
// each request, as a stock server does for the peer, although one bridge of ours would
// do for all; the peer's URL builder, which that server makes anyway, is made once.
// Serving a blob is Stat and ServeBlob, as in the handler; the blob is empty, because
// reading one takes the storage so long that nothing else could be seen. Bare, ours and
// peer take turns in small batches, in changing order; what is added is the median of
// the differences from bare.
//
// handler/blob-get: what package ociregistry's handler adds to a GET of a blob of 1 KiB, with
// the event that is made of it, as time and as allocations; the sink does nothing. Then with
// a hub for the sink. The registry behind it only writes headers and body, and the client is
// a value in memory with the methods of the standard library's.
//
// handler/download: a download of 1 GiB over loopback, from a file, which the server sends
// without having it in memory. The ceiling is the same without the handler, at the same
// time: 16 MiB of one and 16 MiB of the other in turn, of six pairs the median.
//
// pending/N: bytes of live heap for each event that waits, with N endpoints and a dead
// receiver. Here every string of an event is its own, constants and source included.
//
// encode: the time to make the JSON of one event, of 256 in turn, ours into a buffer
// that is used again. The peer's is encoding/json, which makes a new one.
//
// flat: events a second, 200,000 of them, while 1,000,000 wait behind the envelope
// under way, beside the same while 1,000 wait. The backlog is written while the
// receiver is shut; from then on as much is written as was delivered.
//
// connections: how many TCP connections 10,000 single deliveries take.
//
// cost/…: CPU seconds of the whole process, receiver included, for 1,000,000 events
// delivered, their making included, and the peak of the heap above what it was before,
// with all that waits because the writer is faster than the receiver. The peer's is
// that of 10,000, and its CPU time extrapolated.
//
// latency/…: from just before Write to when the receiver has read the body, in which
// it finds the IDs. At 1,000 events a second; and at half the rate that each reaches
// without a pause, which is a rate of its own for each.
//
// # The rows of the journal
//
// All files are where temporary files are, and are removed afterwards. The ceiling of what
// is written is an os.File to which as many bytes are appended, the head of a frame and the
// JSON of an event, which are there before the clock starts. The peer is a bbolt database
// with sequential keys, and with the options that make it the fastest for that. With 64
// writers, a committer of ours puts what they bring meanwhile into one transaction. No sink
// takes anything, and one that is away has all kept, as the others do too.
//
// journal/single: events a second that one goroutine writes, one event a Write, each synced
// before the next. The raw file does one write call and one fsync for each.
//
// journal/group: the same with 64 goroutines. The raw file does one write call and one fsync
// for 64 records. bbolt's own Batch is told to wait for as many writers as there are; with
// its defaults it would wait for its timer.
//
// journal/none: 64 goroutines without any sync. The raw file does one write call for each
// record, and bbolt one transaction for each event: there is nothing to share. Gathered, it
// does one for all that 64 goroutines bring at a time. journal/none/single: by one goroutine.
//
// journal/deliver: deliver/fanout with a journal in the place of the hub in memory, which
// syncs what 64 goroutines write. The peer is in memory and has one.
//
// journal/memory: by how much the resident memory of a fresh process grows, at most, until
// 5,000,000 events are pending for ten endpoints whose receiver is dead; what opening the
// journal and making the events takes is in it. They come in blocks of 64, and are not synced,
// which is how they come soonest. The peer's is the heap of 100,000, extrapolated. It is
// measured once however many rounds there are, and takes 3.5 GB of disk; where these are not
// free, it says so and is left out. journal/memory/then is what is left of the growth when
// the process has given back what it does not use.
//
// journal/open: the time to open that journal again, the median of five times. The ceiling
// is to read all of its files once.
//
// journal/catchup: events a second to a sink that has 1,000,000 to catch up with, takes them
// as they are encoded, and does nothing with them, from when it is added; without any sync.
// The ceiling is to read the same files with a checksum (CRC-32C), 1 MiB at a time; all of
// them are in the system's cache. journal/catchup/synced: the same with the default
// configuration, where the place behind each block is synced before the next one is given.
// journal/catchup/endpoint: that with an endpoint and its receiver.
//
// receive/batch: events a second that package receiver takes over loopback, in envelopes of
// 1024 that two senders have signed before the clock starts, all IDs new; its sink does
// nothing. The ceiling is encoding/json on the same bodies, into an Envelope, on one core and
// without any HTTP.
//
// observe/load: how long package observer takes to load 1,000,000 events of 10,000
// repositories from a journal, beside reading and decoding them alone: medians of three
// each, in turn.
//
// # The rows of the stream
//
// The servers of JetStream are in this process too, with files where temporary files are, and
// sync as they do by default. All clients have connections of their own, over loopback. The
// peer is nats.go, the client under the hub, which writes the same messages: subjects, headers,
// IDs and data. Its messages are there before the clock starts; a hub encodes events while it
// runs. Each writes into a stream of its own, which a hub has made, and which has in the end as
// many messages as were written.
//
// stream/publish: events a second that 8 goroutines write in blocks of 64, together as many as
// are under way at once (Window, 512). The peer publishes asynchronously, with as many under
// way, by one goroutine. stream/publish/ones: the same with one event a Write.
// stream/publish/block: one goroutine, in blocks of 64, each stored before the next.
// stream/publish/single: one goroutine, one event a Write; the peer waits for each answer, too.
//
// stream/publish-3: all of these with three servers and three replicas, between which what
// they have for each other passes through a proxy that does nothing.
//
// stream/deliver: events a second to a sink that has 50,000 to catch up with, takes them as
// they are encoded, and does nothing with them, from when it is added to a hub with eight
// partitions until the servers have the last acknowledgement. The peers acknowledge each
// message: one durable pull consumer of all, or eight, one for each partition, at once; the
// ratio is to the faster one of the round, and the rows that say vs are to each. The ceiling is
// one consumer that acknowledges each 1024th message, for all in front of it.
// stream/deliver/decoded: a sink that takes events.
//
// stream/deliver-3: the same with three servers and three replicas, of everything.
//
// stream/scale/PxN: events a second that N instances of a registry, with a connection each,
// deliver to one sink of P partitions that does nothing, from when half of the backlog is
// delivered until a tenth is left. Then with a sink that takes 1 ms for a block of however many
// events, and with one that takes 100 µs for each event. All is in one process: what takes a
// core grows no further than the cores do. It takes minutes, and is measured once; a smoke run
// leaves it out.
package main
