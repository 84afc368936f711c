package notifications

import (
	"net/http"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "120", "3600", "3601", "-1", "1e3", "0x10", "99999999999999999999", " 7 ",
		"Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", "Fri Dec 31 23:59:59 1999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		d := retryAfter(&http.Response{Header: http.Header{"Retry-After": {value}}}, now)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, MaxRetryAfter)
	})
}

func FuzzAnswer(f *testing.F) {
	target, err := newTarget("http://user:hunter2@example.org/?token=query-token", http.Header{"X": {"header-secret"}}, nil)
	require.NoError(f, err)
	f.Add("plain")
	f.Add("two\r\nlines\x00 \xff\xfe and hunter2")
	f.Add("header-secret query-token")
	f.Fuzz(func(t *testing.T, answer string) {
		shown := target.printable(answer)
		require.LessOrEqual(t, len(shown), maxShownAnswer)
		require.True(t, utf8.ValidString(shown))
		for _, r := range shown {
			require.True(t, unicode.IsPrint(r), "%q", r)
		}
		for _, secret := range []string{"hunter2", "query-token", "header-secret"} {
			require.NotContains(t, shown, secret)
		}
	})
}

func TestPrintable(t *testing.T) {
	target, err := newTarget("http://example.org/", nil, nil)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"":                      "",
		" a\n\tb\x00c ":         "a b c",
		"\x1b[31mred\u202eevil": "[31mred evil",
		"caf\xc3":               "caf\ufffd",
	} {
		assert.Equal(t, want, target.printable(text))
	}
}
