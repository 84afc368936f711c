package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// partitionsKey is under what a stream says in how many partitions its subjects are.
const partitionsKey = "notifications.partitions"

// wanted is the stream of a configuration.
func (c *Config) wanted() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        c.Stream,
		Description: "events of container registries",
		Subjects:    []string{c.Subject + ".>"},
		Retention:   jetstream.LimitsPolicy, // or feeds would find nothing
		Discard:     jetstream.DiscardNew,   // or what is not delivered would make room
		MaxBytes:    orNone(c.MaxBytes),
		MaxAge:      c.MaxAge,
		Storage:     c.Storage,
		Replicas:    c.Replicas,
		Duplicates:  c.Duplicates,
		AllowDirect: true,
		Metadata:    map[string]string{partitionsKey: strconv.Itoa(c.Partitions)},

		AllowBatchPublish: true,
	}
}

func orNone(limit int64) int64 {
	if limit == 0 {
		return -1
	}
	return limit
}

// openStream returns the stream, made if there is none, and compared with the configuration
// if there is.
func (c *Config) openStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	s, err := openOrCreate(ctx, js, c.wanted())
	if err != nil {
		return nil, err
	}
	return s, c.compare(s.CachedInfo().Config)
}

func openOrCreate(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (s jetstream.Stream, err error) {
	err = ask(ctx, func(ctx context.Context) error {
		if s, err = js.Stream(ctx, want.Name); errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another instance was first
				s, err = js.Stream(ctx, want.Name)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("jetstream: stream %q: %w", want.Name, err)
	}
	return s, nil
}

func orNotSet(value string) string {
	if value == "" {
		return "not set"
	}
	return value
}

// setting is one of a stream's.
type setting struct {
	name      string
	has, want any
}

// compare names the first setting that is not as it is wanted.
func compare(stream string, settings []setting) error {
	for _, s := range settings {
		if !same(s.has, s.want) {
			return &SettingError{stream, s.name, s.has, s.want}
		}
	}
	return nil
}

func (c *Config) compare(has jetstream.StreamConfig) error {
	want := c.wanted()
	return compare(c.Stream, []setting{
		{"subjects", has.Subjects, want.Subjects},
		{"partitions", orNotSet(has.Metadata[partitionsKey]), want.Metadata[partitionsKey]},
		{"retention", has.Retention, want.Retention},
		{"discard", has.Discard, want.Discard},
		{"discard new per subject", has.DiscardNewPerSubject, false},
		{"maxbytes", has.MaxBytes, want.MaxBytes},
		{"maxage", has.MaxAge, want.MaxAge},
		{"maxmsgs", has.MaxMsgs, int64(-1)},
		{"maxmsgspersubject", has.MaxMsgsPerSubject, int64(-1)},
		{"storage", has.Storage, want.Storage},
		{"replicas", has.Replicas, want.Replicas},
		{"duplicates", has.Duplicates, want.Duplicates},
		{"batched publishing", has.AllowBatchPublish, true},
		{"direct access", has.AllowDirect, true},
		{"acknowledgements", !has.NoAck, true},
		{"sealed", has.Sealed, false},
		{"mirror", has.Mirror != nil, false},
		{"sources", len(has.Sources), 0},
		{"persist mode", has.PersistMode, jetstream.DefaultPersistMode},
		{"subject transform", has.SubjectTransform != nil, false},
		{"consumer limits", has.ConsumerLimits, jetstream.StreamConsumerLimits{}},
	})
}

func same(a, b any) bool {
	if x, ok := a.([]string); ok {
		y, _ := b.([]string)
		return slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y)))
	}
	return a == b
}

// bucket is keys with values, and the stream that they are.
type bucket struct {
	jetstream.KeyValue
	stream jetstream.Stream
}

// openLeases returns the bucket of leases and members, which end by themselves.
func (c *Config) openLeases(ctx context.Context, js jetstream.JetStream) (bucket, error) {
	return c.openBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket: c.Stream + "-leases", Description: "who works on which partition", TTL: c.Lease,
	})
}

// openAttempts returns the bucket of attempts.
func (c *Config) openAttempts(ctx context.Context, js jetstream.JetStream) (bucket, error) {
	return c.openBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket: c.Stream + "-attempts", Description: "how often events were tried that nobody takes",
	})
}

func (c *Config) openBucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) (b bucket, err error) {
	want.History, want.Replicas, want.Storage = 1, c.Replicas, c.Storage
	err = ask(ctx, func(ctx context.Context) error {
		if b.KeyValue, err = js.KeyValue(ctx, want.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			b.KeyValue, err = js.CreateKeyValue(ctx, want)
			if errors.Is(err, jetstream.ErrBucketExists) { // another instance was first
				b.KeyValue, err = js.KeyValue(ctx, want.Bucket)
			}
		}
		if err == nil {
			b.stream, err = js.Stream(ctx, "KV_"+want.Bucket)
		}
		return err
	})
	if err != nil {
		return b, fmt.Errorf("jetstream: bucket %q: %w", want.Bucket, err)
	}
	has := b.stream.CachedInfo().Config
	return b, compare("KV_"+want.Bucket, []setting{
		{"lease", has.MaxAge, want.TTL},
		{"replicas", has.Replicas, want.Replicas},
		{"storage", has.Storage, want.Storage},
		{"history", has.MaxMsgsPerSubject, int64(want.History)},
	})
}

// forget takes keys out: at once, and without one that says that another was deleted.
func (b bucket) forget(ctx context.Context, keys string) error {
	return b.stream.Purge(ctx, jetstream.WithPurgeSubject(b.subject(keys)))
}

// count returns how many keys there are.
func (b bucket) count(ctx context.Context, keys string) (int, error) {
	info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter(b.subject(keys)))
	if err != nil {
		return 0, err
	}
	return len(info.State.Subjects), nil
}

func (b bucket) subject(keys string) string { return fmt.Sprintf("$KV.%s.%s", b.Bucket(), keys) }

// reach asks for what every other question needs: without it, servers do not say what is
// wrong.
func reach(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	err := ask(ctx, func(ctx context.Context) error {
		_, err := js.AccountInfo(ctx)
		return withReason(nc, err)
	})
	if err != nil {
		return fmt.Errorf("jetstream: asking the servers: %w", err)
	}
	return nil
}

// neverStored returns a message that servers answer and do not store: its condition does not
// hold.
func neverStored(subject string, header nats.Header) *nats.Msg {
	header[jetstream.ExpectedLastSeqHeader] = []string{"4611686018427387904"}
	return &nats.Msg{Subject: subject, Header: header}
}

// mayPublish asks whether this connection may put something into the stream. Of a Write the
// servers would say nothing.
func (c *Config) mayPublish(ctx context.Context, nc *nats.Conn) error {
	err := ask(ctx, func(ctx context.Context) error {
		_, err := nc.RequestMsgWithContext(ctx, neverStored(c.Subject+".0.probe", nats.Header{}))
		return withReason(nc, err)
	})
	if err != nil {
		return fmt.Errorf("jetstream: publishing on %q: %w", c.Subject+".>", err)
	}
	return nil
}

// withReason adds what the connection has heard of a permission that is missing to an error
// of an answer that has not come.
func withReason(nc *nats.Conn, err error) error {
	if why := nc.LastError(); errors.Is(err, context.DeadlineExceeded) && why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}
