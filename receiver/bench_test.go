package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
)

const perEnvelope = 1024 // as an Endpoint has it

// batch returns the envelope of so many events of a push, about 900 bytes each.
func batch(tb testing.TB, events int) []byte {
	env := notifications.Envelope{}
	for range events {
		e := notifications.NewEvent(notifications.ActionPush)
		e.Target = notifications.Target{
			Type: notifications.TypeManifest, MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 403,
			Digest:     "sha256:50c6529f23ff8ac3b5b7a03b56326af72f4f2823029d70d151137a45871d410b",
			Repository: "library/app", Tag: "v1",
			URL: "http://registry.example.org/v2/library/app/manifests/sha256:50c6529f23ff8ac3b5b7a03b56326af72f4f2823029d70d151137a45871d410b",
		}
		e.Request = notifications.RequestRecord{
			ID: "01a1fd8b-7395-7d1e-84ef-dcb3265984e6", Addr: "192.0.2.7:42002", Host: "registry.example.org",
			Method: "PUT", UserAgent: "crane/v0.22.1 go-containerregistry/v0.22.1",
		}
		e.Source = notifications.SourceRecord{Addr: "registry-1:5000", InstanceID: "01a1fd8b-6bf8-731f-a50e-277073ba0afc"}
		env.Events = append(env.Events, e)
	}
	body, err := env.MarshalJSON()
	require.NoError(tb, err)
	return body
}

// discard is a sink that has what it takes at once.
type discard struct{ events atomic.Int64 }

func (d *discard) Write(_ context.Context, events ...*notifications.Event) error {
	d.events.Add(int64(len(events)))
	return nil
}

func (d *discard) Close(context.Context) error { return nil }

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)*perEnvelope/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReceiver has two senders, who wait for their answers, signatures, and events that
// the window does not know: there are twice as many as it remembers.
func BenchmarkReceiver(b *testing.B) {
	key, err := signature.ParseKey(oldKey)
	require.NoError(b, err)
	signer, err := signature.NewSigner(key)
	require.NoError(b, err)
	bodies := make([][]byte, 2*receiver.DefaultWindow/perEnvelope)
	headers := make([]http.Header, len(bodies))
	for i := range bodies {
		bodies[i] = batch(b, perEnvelope)
		headers[i] = http.Header{"Content-Type": {notifications.MediaTypeV2}}
		require.NoError(b, signer.Sign(headers[i], "msg", time.Now(), bodies[i]))
	}

	start := func(b *testing.B) (*receiver.Receiver, *discard) {
		sink := new(discard)
		r, err := receiver.New(sink, receiver.Config{Keys: []signature.Key{key}, Logger: quiet()})
		require.NoError(b, err)
		return r, sink
	}
	run := func(b *testing.B, post func(i int) int) {
		b.ReportAllocs()
		b.SetBytes(int64(len(bodies[0])))
		b.SetParallelism(1)
		var next atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if status := post(int(next.Add(1)-1) % len(bodies)); status != http.StatusOK {
					b.Errorf("answer %d", status)
				}
			}
		})
		perSecond(b)
	}

	b.Run("handler", func(b *testing.B) {
		r, sink := start(b)
		run(b, func(i int) int {
			req := httptest.NewRequest(http.MethodPost, "/events", bytes.NewReader(bodies[i]))
			req.Header = headers[i]
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			return w.Code
		})
		require.EqualValues(b, b.N*perEnvelope, sink.events.Load())
	})
	b.Run("loopback", func(b *testing.B) {
		r, sink := start(b)
		server := httptest.NewServer(r)
		defer server.Close()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, WriteBufferSize: 64 << 10}}
		defer client.CloseIdleConnections()
		run(b, func(i int) int {
			req, err := http.NewRequest(http.MethodPost, server.URL, bytes.NewReader(bodies[i]))
			if err != nil {
				return 0
			}
			req.Header = headers[i]
			resp, err := client.Do(req)
			if err != nil {
				return 0
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		})
		require.EqualValues(b, b.N*perEnvelope, sink.events.Load())
	})
}

// BenchmarkDecode is what BenchmarkReceiver is compared with: the decoding of the same
// bodies alone, by two goroutines, too.
func BenchmarkDecode(b *testing.B) {
	body := batch(b, perEnvelope)
	for _, way := range []struct {
		name   string
		decode func() error
	}{
		{"json.Unmarshal", func() error { return json.Unmarshal(body, new(notifications.Envelope)) }},
		{"DecodeEnvelope", func() error {
			_, err := notifications.DecodeEnvelope(notifications.MediaTypeV2, bytes.NewReader(body), 0)
			return err
		}},
		{"receiver", func() error {
			if _, reason := receiver.Decode(body); reason != "" {
				return errors.New(reason)
			}
			return nil
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			b.SetParallelism(1)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := way.decode(); err != nil {
						b.Error(err)
					}
				}
			})
			perSecond(b)
		})
	}
}
