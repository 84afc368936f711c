package stocktest

import (
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	path   = "middleware.registry.notifications.jetstream"
	secret = "hunter2hunter2"
)

// What the hub finds wrong names the option.
func TestBadOptions(t *testing.T) {
	c, dir := cluster(t, nil), t.TempDir()
	start(t, options(c.URL(), "http://127.0.0.1:1/", ", spill: {dir: "+dir+"/held}"))
	for option, want := range map[string]string{
		"stream: a b":                         `stream: "a b": allowed are letters, digits, dashes and underscores`,
		"subject: 'a.*'":                      `subject: "a.*": allowed are letters`,
		"partitions: 2000":                    "partitions: 2000: allowed are 1 to 1024",
		"replicas: 7":                         "replicas: 7: allowed are 1 to 5",
		"window: -1":                          "window: -1: allowed are 1 to",
		"lease: 1ms":                          "lease: 1ms: allowed are 1s and above",
		"maxage: -1s":                         "maxage: -1s: allowed are",
		"maxbytes: -1":                        "maxbytes: -1: allowed are zero",
		"maxage: 1s, duplicates: 2m":          "duplicates: 2m0s: allowed are those up to maxage",
		"timeout: 3s":                         "timeout: 3s: allowed is half of lease",
		"backoff: -1s":                        "backoff: -1s: allowed are zero, for the default, and above",
		"maxbackoff: -1s":                     "maxbackoff: -1s: allowed are zero, for the default, and above",
		"spill: {dir: /proc/self/x}":          "spill.dir: journal: mkdir /proc/self/x: no such file",
		"spill: {dir: DIR/x, sync: often}":    `spill.sync: `,
		"spill: {dir: DIR/x, maxbytes: 1KiB}": `spill.maxbytes: `,
		"spill: {dir: DIR/x}, maxbytes: -1":   "jetstream.maxbytes: -1: allowed are zero",
		"spill: {dir: DIR/held}":              "spill.dir: journal: ",
		"stream: r3, replicas: 3":             `: jetstream: stream "r3": nats: API error`,
	} {
		options := options(c.URL(), "http://127.0.0.1:1/", ", "+strings.ReplaceAll(option, "DIR", dir))
		if strings.HasPrefix(option, "lease") {
			options = strings.Replace(options, "lease: 1s, ", "", 1)
		}
		text := refused(t, options)
		assert.Contains(t, text, path, option)
		assert.Contains(t, text, want, option)
	}
}

// A stream of that name with other settings is left as it is, and the option is named.
func TestOtherSettings(t *testing.T) {
	c := cluster(t, nil)
	base := ", maxbytes: 1MiB"
	require.NoError(t, start(t, options(c.URL(), "http://127.0.0.1:1/", base)).shutdown())
	for option, want := range map[string]string{
		", maxbytes: 2MiB":         `.maxbytes: jetstream: stream "notifications": maxbytes is 1048576: the configuration has 2097152`,
		base + ", maxage: 1h":      ".maxage: ",
		base + ", partitions: 4":   ".partitions: ",
		base + ", storage: memory": ".storage: ",
		base + ", duplicates: 1m":  ".duplicates: ",
		base + ", subject: other":  ".subject: ",
	} {
		assert.Contains(t, refused(t, options(c.URL(), "http://127.0.0.1:1/", option)), path+want)
	}
	longer := strings.Replace(options(c.URL(), "http://127.0.0.1:1/", base), "lease: 1s", "lease: 2s", 1)
	assert.Contains(t, refused(t, longer), path+".lease: ")

	js := connect(t, c)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "queue", Subjects: []string{"queue.>"}, Retention: jetstream.WorkQueuePolicy, Metadata: map[string]string{"notifications.partitions": "8"}})
	require.NoError(t, err)
	assert.Contains(t, refused(t, options(c.URL(), "http://127.0.0.1:1/", ", stream: queue")), path+".stream: ")
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "mail-deadletters", Subjects: []string{"letters"}})
	require.NoError(t, err)
	assert.Contains(t, refused(t, options(c.URL(), "http://127.0.0.1:1/", ", stream: mail")), path+`.subject: jetstream: stream "mail-deadletters": subjects is [letters]`)
}

// Servers that do not let this one in, or have no JetStream, or do not answer.
func TestRefused(t *testing.T) {
	c := cluster(t, func(o *server.Options) { o.Username, o.Password = "registry", secret })
	for _, way := range []string{"", ", user: registry, password: wrong" + secret, ", token: wrong" + secret} {
		text := refused(t, options(c.URL(), "http://127.0.0.1:1/", way))
		assert.Contains(t, text, path+": connecting to "+c.URL()+": nats: Authorization Violation: allowed is what the servers know")
		assert.NotContains(t, text, secret)
	}
	inURL := strings.Replace(c.URL(), "nats://", "nats://registry:wrong"+secret+"@", 1)
	text := refused(t, options(inURL, "http://127.0.0.1:1/", ""))
	assert.Contains(t, text, path+": connecting to "+c.URL()+": nats: Authorization Violation")
	assert.NotContains(t, text, secret)
	text = refused(t, options(c.URL(), "http://127.0.0.1:1/", ", user: registry, password: "+secret+", tls: {cafile: "+authority(t).file+"}"))
	assert.Contains(t, text, path+".servers: connecting to "+c.URL()+": nats: secure connection not available")

	c = cluster(t, func(o *server.Options) { o.JetStream = false })
	assert.Contains(t, refused(t, options(c.URL(), "http://127.0.0.1:1/", "")), path+": jetstream: asking the servers: ")
	url := c.URL()
	c.Stop()
	assert.Contains(t, refused(t, options(url, "http://127.0.0.1:1/", "")), path+".servers: connecting to "+url+": nats: no servers available")
}

// A server that takes the connection and says nothing is not waited for for ever.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	url := "nats://" + l.Addr().String()
	assert.Contains(t, refused(t, options(url, "http://127.0.0.1:1/", "")), path+".servers: connecting to "+url+": ")
}
