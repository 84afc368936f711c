package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/observer"
	webhooks "github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
)

// receiving measures how fast a receiver takes signed envelopes of 1024 events over
// loopback, from two senders, beside decoding the same bodies and nothing else.
func receiving() experiment {
	return experiment{
		rows: []row{{name: "receive/batch", unit: eventsPerSecond, targets: []target{atLeast(own, 200_000), atLeast(ofCeiling, 0.5)}}},
		round: func(s scale) ([]sample, error) {
			key, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
			if err != nil {
				return nil, err
			}
			requests, err := signedRequests(s.of(200), key)
			if err != nil {
				return nil, err
			}
			received, err := receive(requests, key)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			for _, r := range requests {
				var env notifications.Envelope
				if err := json.Unmarshal(r.body, &env); err != nil || len(env.Events) != batch {
					return nil, fmt.Errorf("receive: decoded %d: %w", len(env.Events), err)
				}
			}
			decoded := time.Since(start)
			n := float64(len(requests) * batch)
			return []sample{{ours: n / received.Seconds(), ceiling: n / decoded.Seconds()}}, nil
		},
	}
}

// signed is a request that is ready to be sent.
type signed struct {
	header http.Header
	body   []byte
}

func signedRequests(n int, key signature.Key) ([]signed, error) {
	signer, err := signature.NewSigner(key)
	if err != nil {
		return nil, err
	}
	all, m := make([]signed, n), newMaker()
	for i := range all {
		env := notifications.Envelope{}
		for range batch {
			env.Events = append(env.Events, m.ours())
		}
		if all[i].body, err = env.MarshalJSON(); err != nil {
			return nil, err
		}
		all[i].header = http.Header{"Content-Type": {notifications.MediaTypeV2}}
		if err := signer.Sign(all[i].header, strconv.Itoa(i), time.Now(), all[i].body); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// receive sends all of them to a receiver whose sink does nothing.
func receive(requests []signed, key signature.Key) (time.Duration, error) {
	r, err := webhooks.New(nowhere{}, webhooks.Config{Keys: []signature.Key{key}})
	if err != nil {
		return 0, err
	}
	server := httptest.NewServer(r)
	defer server.Close()
	const senders = 2
	var sends sync.WaitGroup
	errs := make([]error, senders)
	start := time.Now()
	for i := range senders {
		sends.Go(func() {
			for n := i; n < len(requests) && errs[i] == nil; n += senders {
				errs[i] = send(server, requests[n])
			}
		})
	}
	sends.Wait()
	took := time.Since(start)
	if m := r.Metrics(); errors.Join(errs...) == nil && m.Events != uint64(len(requests)*batch) {
		errs = append(errs, fmt.Errorf("receive: %+v", m))
	}
	return took, errors.Join(errs...)
}

func send(server *httptest.Server, s signed) error {
	req, err := http.NewRequest(http.MethodPost, server.URL, bytes.NewReader(s.body))
	if err != nil {
		return err
	}
	req.Header = s.header
	resp, err := server.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("receive: %s", resp.Status), err)
	}
	return nil
}

// observing measures how long an observer takes to load 1,000,000 events of 10,000
// repositories from a journal, beside reading and decoding them alone.
func observing() experiment {
	return experiment{
		rows: []row{{name: "observe/load", unit: "× reading alone", targets: []target{atMost(own, 2)}}},
		round: func(s scale) (samples []sample, err error) {
			n := s.of(1_000_000)
			j, dir, err := feedOf(n)
			if err != nil {
				return nil, err
			}
			defer func() {
				err = errors.Join(err, closeJournal(j), os.RemoveAll(filepath.Dir(dir)))
			}()
			var read, load []float64
			for range 3 {
				took, err := readFeed(j, n)
				if err != nil {
					return nil, err
				}
				read = append(read, took.Seconds())
				if took, err = loadFeed(j, n, filepath.Dir(dir)); err != nil {
					return nil, err
				}
				load = append(load, took.Seconds())
			}
			return []sample{{ours: middle(load) / middle(read)}}, nil
		},
	}
}

// feedOf returns a journal with n events, of 10,000 repositories if there are so many.
func feedOf(n int) (_ *journal.Journal, dir string, err error) {
	if dir, err = os.MkdirTemp("", "bench-feed-"); err != nil {
		return nil, "", err
	}
	dir = filepath.Join(dir, "events")
	j, err := journal.Open(dir, journal.Config{Sync: journal.SyncNone, Retain: time.Hour})
	if err != nil {
		return nil, "", err
	}
	m := newMaker()
	block := make([]*notifications.Event, gang)
	for at := 0; at < n; at += len(block) {
		block = block[:min(n-at, gang)]
		for i := range block {
			e := m.ours()
			number := (at + i) % 10_000
			e.Target.Repository = fmt.Sprintf("team-%02d/service-%04d", number%100, number)
			block[i] = e
		}
		if err := j.Write(context.Background(), block...); err != nil {
			return nil, "", errors.Join(err, closeJournal(j))
		}
	}
	return j, dir, nil
}

func readFeed(j *journal.Journal, n int) (time.Duration, error) {
	start := time.Now()
	after := uint64(0)
	for after < uint64(n) {
		records, err := j.Read(context.Background(), after, 0)
		if err != nil || len(records) == 0 {
			return 0, errors.Join(errors.New("observe: the feed ends too early"), err)
		}
		after = records[len(records)-1].Position
	}
	return time.Since(start), nil
}

// loadFeed has an observer load a feed, from the beginning.
func loadFeed(j *journal.Journal, n int, dir string) (took time.Duration, err error) {
	path := filepath.Join(dir, "state")
	store, err := observer.OpenFile(path)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errPatience)
	defer cancel()
	start := time.Now()
	var loaded time.Time
	var events uint64
	o, err := observer.New(observer.Config{
		Feeds: map[string]notifications.Feed{"registry": j}, Store: store, Processor: idler{},
		Progress: func(p observer.Progress) {
			if p.Done {
				loaded, events = time.Now(), p.Events
				cancel()
			}
		},
	})
	if err == nil {
		err = o.Watch(ctx)
	}
	if err == nil && events != uint64(n) {
		err = fmt.Errorf("observe: loaded %d of %d: %w", events, n, context.Cause(ctx))
	}
	return loaded.Sub(start), errors.Join(err, store.Close(), os.Remove(path), os.Remove(path+".lock"))
}

// idler is a Processor with nothing to do.
type idler struct{}

func (idler) Enable(context.Context, *observer.State) error   { return nil }
func (idler) Disable(context.Context, *observer.State) error  { return nil }
func (idler) Freeze(context.Context, *observer.State) error   { return nil }
func (idler) Unfreeze(context.Context, *observer.State) error { return nil }
func (idler) Event(context.Context, *observer.State, notifications.Record) error {
	return nil
}
