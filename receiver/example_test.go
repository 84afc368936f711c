package receiver_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

// A receiver for events that are signed, and for a registry that cannot sign and sends an
// Authorization instead.
func ExampleNew() {
	key, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	sink := new(sinktest.Fake) // in real life a hub
	r, err := receiver.New(sink, receiver.Config{
		Keys:          []signature.Key{key},
		Authorization: []string{"Bearer of-the-registry"},
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(r)
	defer server.Close()

	post := func(authorization string) {
		body := []byte(`{"events":[{"id":"1","action":"push","target":{"repository":"library/app","tag":"v1"}}]}`)
		req, err := http.NewRequest(http.MethodPost, server.URL, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		req.Header.Set("Content-Type", notifications.MediaTypeV1)
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	post("Bearer of-the-registry")
	post("Bearer of-the-registry") // a retry: the first answer was lost
	post("Bearer of-somebody-else")
	http.DefaultClient.CloseIdleConnections()

	for _, e := range sink.Events() {
		fmt.Println(e.Action, e.Target.Repository, e.Target.Tag)
	}
	fmt.Println(r.Metrics().Duplicates, "duplicate")
	// Output:
	// 200 OK
	// 200 OK
	// 401 Unauthorized
	// push library/app v1
	// 1 duplicate
}
