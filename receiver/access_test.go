package receiver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/signature"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestAccess(t *testing.T) {
	body := withIDs("1")
	signed := func(key string, ago time.Duration) func(*http.Request) {
		return func(req *http.Request) { sign(t, req, body, key, ago) }
	}
	value := func(values ...string) func(*http.Request) {
		return func(req *http.Request) { req.Header["Authorization"] = values }
	}
	both := func(all ...func(*http.Request)) func(*http.Request) {
		return func(req *http.Request) {
			for _, f := range all {
				f(req)
			}
		}
	}
	private := parseKey(t, privateKey)
	oldOnly := receiver.Config{Keys: []signature.Key{parseKey(t, oldKey)}}
	rotating := receiver.Config{Keys: []signature.Key{parseKey(t, oldKey), parseKey(t, newKey), parseKey(t, private.Public())}}
	values := receiver.Config{Authorization: []string{"Bearer old", "Bearer new"}}
	all := receiver.Config{Keys: rotating.Keys, Authorization: values.Authorization}
	tolerant := receiver.Config{Keys: oldOnly.Keys, Tolerance: time.Hour}

	for _, c := range []struct {
		name   string
		config receiver.Config
		how    func(*http.Request)
		status int
	}{
		{"a signature", oldOnly, signed(oldKey, 0), 200},
		{"the old key", rotating, signed(oldKey, 0), 200},
		{"the new key", rotating, signed(newKey, 0), 200},
		{"an Ed25519 key", rotating, signed(privateKey, 0), 200},
		{"another key", oldOnly, signed(newKey, 0), 401},
		{"another kind of key", oldOnly, signed(privateKey, 0), 401},
		{"no signature", oldOnly, both(), 401},
		{"an hour ago", oldOnly, signed(oldKey, 59*time.Minute), 401},
		{"an hour ago is tolerated", tolerant, signed(oldKey, 59*time.Minute), 200},
		{"two hours ago", tolerant, signed(oldKey, 2*time.Hour), 401},
		{"a signature of another body", oldOnly, func(req *http.Request) { sign(t, req, body+" ", oldKey, 0) }, 401},
		{"half a signature", oldOnly, both(signed(oldKey, 0), func(req *http.Request) { req.Header.Del("Webhook-Id") }), 401},

		{"the old value", values, value("Bearer old"), 200},
		{"the new value", values, value("Bearer new"), 200},
		{"another value", values, value("Bearer odd"), 401},
		{"a piece of a value", values, value("Bearer ol"), 401},
		{"more than a value", values, value("Bearer old1"), 401},
		{"another case", values, value("bearer old"), 401},
		{"an empty value", values, value(""), 401},
		{"no value", values, both(), 401},
		{"two values", values, value("Bearer old", "Bearer new"), 401},
		{"a signature where values are wanted", values, signed(oldKey, 0), 401},

		{"a value in place of a signature", all, value("Bearer old"), 200},
		{"a signature in place of a value", all, signed(oldKey, 0), 200},
		{"a value beside a bad signature", all, both(value("Bearer old"), signed(oldKey, time.Hour)), 200},
		{"a signature beside a bad value", all, both(value("Bearer odd"), signed(oldKey, 0)), 200},
		{"neither is right", all, both(value("Bearer odd"), signed(oldKey, time.Hour)), 401},
		{"neither is there", all, both(), 401},

		{"everybody", receiver.Config{}, both(), 200},
		{"everybody, whatever they say", receiver.Config{}, both(value("Bearer odd"), signed(oldKey, time.Hour)), 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(sinktest.Fake)
			r := start(t, f, c.config)
			req := r.request(body)
			c.how(req)
			got := r.do(req)
			require.Equal(t, c.status, got.status)
			if c.status == 200 {
				assert.Equal(t, []string{"1"}, ids(f))
				return
			}
			assert.Empty(t, f.Blocks())
			assert.Equal(t, `Webhook realm="registry events"`, got.header.Get("WWW-Authenticate"), "RFC 9110, 15.5.2")
			assert.Equal(t, "not signed by a known key, and no known authorization", got.text, "whatever was wrong")
		})
	}
}

// TestSignatureComesFirst: whoever has no key learns nothing of what would be wrong with the
// content, and nothing is decoded for him.
func TestSignatureComesFirst(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{Keys: []signature.Key{parseKey(t, oldKey)}})
	req := r.request("<html>")
	sign(t, req, "<html>", newKey, 0)
	assert.Equal(t, 401, r.do(req).status)
	sign(t, req, "<html>", oldKey, 0)
	assert.Equal(t, 400, r.do(again(req, "<html>")).status)
}

func again(req *http.Request, body string) *http.Request {
	other, _ := http.NewRequest(req.Method, req.URL.String(), strings.NewReader(body))
	other.Header = req.Header
	return other
}

// TestStrangersGetNoMemory: nothing is read for a sender that does not even claim to have a
// key.
func TestStrangersGetNoMemory(t *testing.T) {
	r := start(t, new(sinktest.Fake), receiver.Config{Keys: []signature.Key{parseKey(t, oldKey)}})
	answer, _ := rawPost(t, r, "Content-Length: 1000000\r\n", "")
	assert.Equal(t, 401, answer.StatusCode)
}

func TestStrangersAreLogged(t *testing.T) {
	logger, hook := logtest.NewNullLogger()
	r := start(t, new(sinktest.Fake), receiver.Config{
		Keys: []signature.Key{parseKey(t, oldKey)}, Authorization: []string{"Bearer t0ken"}, Logger: logrus.NewEntry(logger),
	})
	req := r.request(withIDs("1"))
	sign(t, req, withIDs("1"), oldKey, time.Hour)
	req.Header.Set("Authorization", "Bearer 0dd")
	assert.Equal(t, 401, r.do(req).status)
	for range 10 {
		assert.Equal(t, 401, r.post(withIDs("1")).status)
	}
	require.Len(t, hook.AllEntries(), 1, "anybody can fill a log")
	line, err := hook.LastEntry().String()
	require.NoError(t, err)
	assert.Contains(t, line, "too old: sent 1h0m")
	assert.Contains(t, line, "addr=")
	assert.NotContains(t, line, "0dd")
	assert.NotContains(t, line, "t0ken")
}

func TestEverybodyIsWarnedOf(t *testing.T) {
	logger, hook := logtest.NewNullLogger()
	r := start(t, new(sinktest.Fake), receiver.Config{Logger: logrus.NewEntry(logger)})
	r.post(withIDs("1"))
	r.post(withIDs("2"))
	require.Len(t, hook.AllEntries(), 1)
	assert.Equal(t, logrus.WarnLevel, hook.LastEntry().Level)
	assert.Contains(t, hook.LastEntry().Message, "anybody can send")
}

func TestNoSecretIsPrinted(t *testing.T) {
	config := receiver.Config{Keys: []signature.Key{parseKey(t, oldKey)}, Authorization: []string{"Bearer t0ken"}, Logger: quiet()}
	r, err := receiver.New(new(sinktest.Fake), config)
	require.NoError(t, err)
	type outer struct{ inner *receiver.Receiver }
	for _, v := range []any{config, &config, r, outer{r}, []*receiver.Receiver{r}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			shown := fmt.Sprintf(verb, v)
			for _, secret := range []string{"t0ken", "b2xkLWtleS1v", "old-key", fmt.Sprintf("%x", "t0ken"), fmt.Sprintf("%v", []byte("t0ken"))[1:20]} {
				assert.NotContains(t, shown, secret, "%s of %T", verb, v)
			}
		}
	}
	assert.Contains(t, fmt.Sprintf("%+v", config), "[redacted]")
}
