package notifications_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestAddresses(t *testing.T) {
	r := newReceiver(t)
	for _, c := range []struct {
		url       string
		addresses Addresses
		reached   bool
	}{
		{r.URL, Addresses{}, true},
		{r.URL, Addresses{Allow: []string{"127.0.0.0/8"}}, true},
		{r.URL, Addresses{Deny: []string{"127.0.0.1"}}, false},
		{r.URL, Addresses{Allow: []string{"10.0.0.0/8"}}, false},
		{r.URL, Addresses{Allow: []string{"127.0.0.0/8"}, Deny: []string{"127.0.0.0/16"}}, false},
		{"http://169.254.169.254/latest/meta-data", Addresses{Allow: []string{"0.0.0.0/0"}}, false},
		{"http://[fd00:ec2::254]/latest/meta-data", Addresses{}, false},
		{"http://[::ffff:169.254.169.254]/", Addresses{}, false},
		{"http://[64:ff9b::a9fe:a9fe]/", Addresses{}, false},
	} {
		before := r.posts()
		err := newHTTPSink(t, c.url, HTTPConfig{Addresses: c.addresses}).Write(t.Context(), NewEvent(ActionPush))
		if c.reached {
			assert.NoError(t, err, c.url)
			continue
		}
		var failed *DeliveryError
		require.ErrorAs(t, err, &failed, c.url)
		assert.Equal(t, Misconfigured, failed.Kind, "an operator can mend it")
		assert.True(t, failed.Permanent())
		assert.Equal(t, before, r.posts())
	}
}

func TestTLS(t *testing.T) {
	r := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.Config.ErrorLog = quietLog
	r.StartTLS()
	defer r.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600))
	for name, c := range map[string]struct {
		config TLS
		ok     bool
	}{
		"nobody knows it":   {TLS{}, false},
		"known":             {TLS{CAFile: ca}, true},
		"known by its name": {TLS{CAFile: ca, ServerName: "example.com"}, true},
		"another name":      {TLS{CAFile: ca, ServerName: "example.org"}, false},
		"whatever it is":    {TLS{InsecureSkipVerify: true}, true},
	} {
		err := newHTTPSink(t, r.URL, HTTPConfig{TLS: c.config}).Write(t.Context(), NewEvent(ActionPush))
		if c.ok {
			assert.NoError(t, err, name)
			continue
		}
		var failed *DeliveryError
		require.ErrorAs(t, err, &failed, name)
		assert.Equal(t, Misconfigured, failed.Kind, name)
	}
}

func TestInsecureSkipVerifyIsWarnedOf(t *testing.T) {
	log, hook := quietLogger()
	newEndpoint(t, "hook", "https://127.0.0.1:1/", EndpointConfig{Logger: log, TLS: TLS{InsecureSkipVerify: true}})
	var warned bool
	for _, e := range hook.AllEntries() {
		warned = warned || e.Level == logrus.WarnLevel && e.Data["endpoint"] == "hook"
	}
	assert.True(t, warned)
}

func TestPauseAndResume(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	e.Pause()
	require.Equal(t, State{Phase: Stopped, Reason: ReasonPaused}, e.Metrics().State)
	require.NoError(t, e.Write(t.Context(), sinktest.Events("e", 3)...))
	time.Sleep(20 * time.Millisecond)
	assert.Zero(t, r.posts())
	assert.EqualValues(t, 3, e.Metrics().Pending)
	e.Resume()
	sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 3 }, "delivered")

	// What has stopped because its receiver was gone goes on, too.
	r.answers(statusHandler(410))
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Reason == ReasonGone }, "gone")
	r.answers(nil)
	e.Resume()
	sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 4 }, "delivered")
	require.NoError(t, e.Close(t.Context()))
	assert.Equal(t, State{Phase: Stopped, Reason: ReasonClosed}, e.Metrics().State)
}
