package scenario

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Uploads is every way in which a blob can come into a registry, and those in which it
// does not.
func (s *Scenario) Uploads() []Step {
	// A name may have parts that are words of the protocol.
	const repo, other = "team/blobs/uploads/tool", "manifests/blobs"
	pushed := func(n int) []Event { return times(n, Event{Action: "push", Type: "blob", Repository: repo}) }
	mounted := times(1, Event{Action: "mount", Type: "blob", Repository: other, From: repo})
	begin := func(query string) request {
		return request{method: "POST", path: "/v2/" + repo + "/blobs/uploads/" + query, want: http.StatusAccepted}
	}
	mount := func(query string, want int) request {
		return request{method: "POST", path: "/v2/" + other + "/blobs/uploads/?" + query, want: want}
	}
	large := strings.Repeat("a large layer ", 80<<10)

	return []Step{
		{"upload in one piece", s.upload(repo, layerContent, len(layerContent)), pushed(1)},
		{"upload it again", s.upload(repo, layerContent, len(layerContent)), pushed(1)},
		{"upload in pieces", s.upload(repo, configContent, 7), pushed(1)},
		{"upload nothing", s.upload(repo, "", 0), pushed(1)},
		{"upload much in one piece", s.upload(repo, large, len(large)), pushed(1)},
		{"upload much in pieces", s.upload(repo, large+"!", 256<<10), pushed(1)},
		{"upload as a stream whose length nobody knows", s.follow(begin(""),
			piece{body: large[:100_000]}, end{digest: digestOf(large[:100_000])},
		), pushed(1)},
		{"upload as two streams, of which the last ends it", s.follow(begin(""),
			piece{body: large[:100_000]}, end{body: large[100_000:150_000], digest: digestOf(large[:150_000]), streamed: true},
		), pushed(1)},
		{"upload in pieces, and end it with the last", s.follow(begin(""),
			piece{body: "one ", at: "0-3"}, piece{body: "two ", at: "4-7"}, end{body: "three", at: "8-12", digest: digestOf("one two three")},
		), pushed(1)},
		{"upload in pieces of one byte", s.follow(begin(""),
			piece{body: "a", at: "0-0"}, piece{body: "b", at: "1-1"}, end{digest: digestOf("ab")},
		), pushed(1)},
		{"go on with an upload where the registry says", s.follow(begin(""),
			status{}, piece{body: "one ", at: "0-3"}, status{}, piece{body: "two", at: "4-6"}, end{digest: digestOf("one two")},
		), pushed(1)},
		{"go on after a piece that did not fit", s.follow(begin(""),
			piece{body: "one ", at: "0-3"}, piece{body: "three", at: "8-12", want: http.StatusRequestedRangeNotSatisfiable},
			status{}, piece{body: "two", at: "4-6"}, end{digest: digestOf("one two")},
		), pushed(1)},
		{"upload what is named by another hash", s.follow(begin(""),
			piece{body: layerContent}, end{digest: digest.SHA512.FromString(layerContent).String()},
		), pushed(1)},
		{"ask for an upload in one request, and get one in two", s.follow(begin("?digest="+digestOf("one")),
			end{body: "one", digest: digestOf("one")},
		), pushed(1)},
		{"upload the same twice at once", s.twice(begin(""), layerContent), pushed(2)},
		{"upload what has another digest", s.follow(begin(""),
			piece{body: "one"}, end{digest: digestOf("two"), want: http.StatusBadRequest},
		), nil},
		{"end an upload without a digest", s.follow(begin(""),
			piece{body: "one"}, end{want: http.StatusBadRequest},
		), nil},
		{"end an upload with what is no digest", s.follow(begin(""),
			piece{body: "one"}, end{digest: "sha256:one", want: http.StatusBadRequest},
		), nil},
		{"give an upload up", s.follow(begin(""), piece{body: "one"}, cancel{}, end{digest: digestOf("one"), want: http.StatusNotFound}), nil},
		{"end an upload twice", s.follow(begin(""),
			end{body: "one", digest: digestOf("one")}, end{body: "one", digest: digestOf("one"), want: http.StatusNotFound},
		), pushed(1)},

		{"mount a blob", s.sends(mount("mount="+digestOf(layerContent)+"&from="+repo, 201)), mounted},
		{"mount it again", s.sends(mount("mount="+digestOf(layerContent)+"&from="+repo, 201)), mounted},
		{"mount an empty blob", s.sends(mount("mount="+digestOf("")+"&from="+repo, 201)), mounted},
		{"mount what is not there, and upload it", s.follow(mount("mount="+digestOf("nowhere")+"&from="+repo, 202),
			end{body: "nowhere", digest: digestOf("nowhere")},
		), times(1, Event{Action: "push", Type: "blob", Repository: other})},
		{"mount without saying from where", s.sends(mount("mount="+digestOf(layerContent), 202)), nil},
		{"mount from what is no repository", s.sends(mount("mount="+digestOf(layerContent)+"&from=No/Name", 202)), nil},
		{"mount what is no digest", s.sends(mount("mount=sha256:one&from="+repo, 202)), nil},

		{"GET what came in pieces", s.sends(request{method: "GET", path: "/v2/" + repo + "/blobs/" + digestOf(large+"!"), want: 200}),
			times(1, Event{Action: "pull", Type: "blob", Repository: repo})},
		{"GET nothing", s.sends(request{method: "GET", path: "/v2/" + repo + "/blobs/" + digestOf(""), want: 200}),
			times(1, Event{Action: "pull", Type: "blob", Repository: repo})},
		{"GET a part of nothing", s.sends(request{
			method: "GET", path: "/v2/" + repo + "/blobs/" + digestOf(""), want: 200, headers: []string{"Range: bytes=0-9"},
		}), times(1, Event{Action: "pull", Type: "blob", Repository: repo})},
		{"delete a blob twice", s.sends(
			request{method: "DELETE", path: "/v2/" + repo + "/blobs/" + digestOf(""), want: http.StatusAccepted},
			request{method: "DELETE", path: "/v2/" + repo + "/blobs/" + digestOf(""), want: http.StatusNotFound},
		), times(1, Event{Action: "delete", Type: "blob", Repository: repo})},
	}
}

// A turn is one request of an upload that has begun, to where it is.
type turn interface {
	request(location string) (r request, streamed bool)
}

// piece brings some of the content: at its place, or as a stream of unknown length.
type piece struct {
	body, at string
	want     int // zero means 202
}

func (p piece) request(location string) (request, bool) {
	r := request{method: "PATCH", path: location, body: p.body, want: p.want, headers: []string{octets}}
	if r.want == 0 {
		r.want = http.StatusAccepted
	}
	if p.at != "" {
		r.headers = append(r.headers, "Content-Range: "+p.at)
	}
	return r, p.at == ""
}

// end ends an upload.
type end struct {
	body, at, digest string
	streamed         bool
	want             int // zero means 201
}

func (e end) request(location string) (request, bool) {
	r := request{method: "PUT", path: location, body: e.body, want: e.want, headers: []string{octets}}
	if e.digest != "" {
		r.path += "&digest=" + e.digest
	}
	if r.want == 0 {
		r.want = http.StatusCreated
	}
	if e.at != "" {
		r.headers = append(r.headers, "Content-Range: "+e.at)
	}
	return r, e.streamed
}

// status asks how far an upload is, and cancel gives it up.
type (
	status struct{}
	cancel struct{}
)

func (status) request(location string) (request, bool) {
	return request{method: "GET", path: location, want: http.StatusNoContent}, false
}

func (cancel) request(location string) (request, bool) {
	return request{method: "DELETE", path: location, want: http.StatusNoContent}, false
}

// follow returns a step's Do that begins an upload and goes where the answers lead.
func (s *Scenario) follow(begin request, turns ...turn) func(context.Context) error {
	return func(ctx context.Context) error {
		location, err := s.send(ctx, begin)
		if err != nil {
			return err
		}
		for _, t := range turns {
			r, streamed := t.request(location)
			var body io.Reader = bytes.NewReader([]byte(r.body))
			if streamed {
				body = struct{ io.Reader }{body} // whose length nobody can see
			}
			next, err := s.sendBody(ctx, r, body)
			if err != nil {
				return err
			}
			if next != "" {
				location = next
			}
		}
		return nil
	}
}

// twice uploads the same by two uploads that are under way at once.
func (s *Scenario) twice(begin request, content string) func(context.Context) error {
	return func(ctx context.Context) error {
		var locations [2]string
		var err error
		for i := range locations {
			if locations[i], err = s.send(ctx, begin); err != nil {
				return err
			}
		}
		for i := range locations {
			// The second is larger, as far as it goes.
			r, _ := piece{body: content[:10*(i+1)], at: fmt.Sprintf("0-%d", 10*(i+1)-1)}.request(locations[i])
			if locations[i], err = s.send(ctx, r); err != nil {
				return err
			}
		}
		for i := range locations {
			r, _ := end{body: content[10*(i+1):], digest: digestOf(content)}.request(locations[i])
			if _, err = s.send(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}
