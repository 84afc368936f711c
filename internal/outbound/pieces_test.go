package outbound

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPieces posts more pieces than the system takes at once, and more than fit into
// any buffer, with TLS and without.
func TestPieces(t *testing.T) {
	const tooFew = 10
	var body []byte
	read := func(w http.ResponseWriter, r *http.Request) {
		var err error
		body, err = io.ReadAll(r.Body)
		assert.NoError(t, err)
		if r.ContentLength == tooFew { // an answer could come before the error
			<-r.Context().Done()
		}
	}
	for name, start := range map[string]func(http.Handler) *httptest.Server{
		"http": httptest.NewServer, "https": httptest.NewTLSServer,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(http.HandlerFunc(read))
			defer server.Close()
			tr, err := NewTransport(Config{TLS: TLS{InsecureSkipVerify: true}})
			require.NoError(t, err)
			defer tr.CloseIdleConnections()

			var pieces net.Buffers
			for i := range 3000 {
				pieces = append(pieces, bytes.Repeat([]byte(fmt.Sprint(i, ",")), 100))
			}
			want := bytes.Join(pieces, nil)
			for range 2 {
				r, err := http.NewRequest(http.MethodPost, server.URL, &Pieces{append(net.Buffers(nil), pieces...)})
				require.NoError(t, err)
				r.ContentLength = int64(len(want))
				resp, err := tr.RoundTrip(r)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.True(t, bytes.Equal(want, body))
			}

			// More than was announced is an error, whoever counts.
			r, err := http.NewRequest(http.MethodPost, server.URL, &Pieces{append(net.Buffers(nil), pieces...)})
			require.NoError(t, err)
			r.ContentLength = tooFew
			_, err = tr.RoundTrip(r)
			assert.Error(t, err)
		})
	}
}

// TestPiecesAreNotCopied: they go out by one call.
func TestPiecesAreNotCopied(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := dial(new(net.Dialer))(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	require.IsType(t, conn{}, client)

	p := &Pieces{net.Buffers{[]byte("a"), []byte("bc")}}
	n, err := io.Copy(client, io.LimitReader(p, 3))
	require.NoError(t, err)
	assert.EqualValues(t, 3, n)
	assert.Empty(t, p.Buffers)
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()
	got := make([]byte, 3)
	_, err = io.ReadFull(server, got)
	require.NoError(t, err)
	assert.Equal(t, "abc", string(got))
}
