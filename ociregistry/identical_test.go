package ociregistry_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// exchange is a request and all that came of it, but the date.
type exchange struct {
	request  string
	status   string
	header   http.Header
	trailer  http.Header
	length   int64
	encoding []string
	body     string
}

// boundary is what the parts of a multipart answer are separated by: it is chance.
var boundary = regexp.MustCompile(`[0-9a-f]{60}`)

// TestAnswersAreTheSame plays with a registry that has a Handler around it, and one that has
// none.
func TestAnswersAreTheSame(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for i, o := range []options{{}, {location: "/elsewhere?session=", noDigest: true}, {location: "absolute", redirects: "https://storage.example.org/"}} {
			if http2 && i > 0 {
				continue
			}
			t.Run(fmt.Sprintf("http2=%v %+v", http2, o), func(t *testing.T) {
				sink := new(sinktest.Fake)
				config := Config{BridgeConfig: notifications.BridgeConfig{IncludeReferences: true}}
				with := play(t, serve(t, http2, Handler(newRegistry(o), sink, config)).URL, http2, uint64(i))
				without := play(t, serve(t, http2, newRegistry(o)).URL, http2, uint64(i))
				require.GreaterOrEqual(t, len(with), 300)
				refused := 0
				for i := range with {
					require.Equal(t, without[i], with[i], "exchange %d", i)
					if with[i].status >= "4" {
						refused++
					}
				}
				require.Equal(t, len(without), len(with))
				assert.Greater(t, refused, 30)
				assert.Greater(t, len(sink.Events()), 50)
			})
		}
	}
}

// play makes requests of all kinds, the same with the same seed.
func play(t *testing.T, url string, http2 bool, seed uint64) (all []exchange) {
	transport := &http.Transport{DisableCompression: true}
	if http2 {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the test's own server
		transport.ForceAttemptHTTP2 = true
	}
	defer transport.CloseIdleConnections()
	p := &player{pick: rand.New(rand.NewPCG(seed, 7)).IntN}
	p.do = func(m move) got {
		m.url = strings.TrimPrefix(m.url, "http://registry.example.org")
		r := m.request()
		r.RequestURI, r.Host = "", "registry.example.org"
		target, err := r.URL.Parse(url)
		require.NoError(t, err)
		r.URL.Scheme, r.URL.Host = target.Scheme, target.Host
		answer, err := transport.RoundTrip(r)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		if http2 {
			require.Equal(t, 2, answer.ProtoMajor)
		}
		answer.Header.Del("Date")
		if v := answer.Header.Get("Content-Type"); strings.HasPrefix(v, "multipart/") {
			answer.Header.Set("Content-Type", boundary.ReplaceAllString(v, "boundary"))
			body = boundary.ReplaceAll(body, []byte("boundary"))
		}
		all = append(all, exchange{
			request: m.method + " " + m.url, status: answer.Status, header: answer.Header, trailer: answer.Trailer,
			length: answer.ContentLength, encoding: answer.TransferEncoding, body: string(body),
		})
		return got{status: answer.StatusCode, header: answer.Header, body: string(body)}
	}
	for len(all) < 320 {
		p.step()
	}
	return all
}
