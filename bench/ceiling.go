package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"
)

// ceiling returns how many events a second a bare client can post in bodies of so
// many, to a receiver of the same kind.
func ceiling(bodies [][]byte, posts, perPost int) (rate float64, err error) {
	r, err := newReceiver(conduct{}, false)
	if err != nil {
		return 0, err
	}
	transport := new(http.Transport)
	client := &http.Client{Transport: transport}
	runtime.GC()

	start := time.Now()
	for i := range posts {
		if err := post(client, r.url, bodies[i%len(bodies)]); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)

	if had := r.posts.Load(); had != int64(posts) {
		return 0, fmt.Errorf("%d posts of %d", had, posts)
	}
	transport.CloseIdleConnections()
	return float64(posts*perPost) / took.Seconds(), r.close()
}

func post(client *http.Client, url string, body []byte) error {
	resp, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close() // it was read to its end
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return err
}
