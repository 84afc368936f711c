package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tlsReceiver is a receiver with a certificate. It remembers who called last.
type tlsReceiver struct {
	*receiver
}

func newTLSReceiver(t *testing.T, cert, key []byte, config *tls.Config) *tlsReceiver {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	if config == nil {
		config = &tls.Config{}
	}
	config.Certificates = []tls.Certificate{pair}

	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { r.seen.Store(req) }))
	r.TLS = config
	r.EnableHTTP2 = true
	r.Config.ErrorLog = quiet
	r.StartTLS()
	t.Cleanup(r.Close)
	_, r.port, _ = net.SplitHostPort(r.Listener.Addr().String())
	return &tlsReceiver{receiver: r}
}

// caller is the name in the client's certificate.
func (r *tlsReceiver) caller() string {
	if req := r.seen.Load(); req != nil && len(req.TLS.PeerCertificates) > 0 {
		return req.TLS.PeerCertificates[0].Subject.CommonName
	}
	return ""
}

func caFile(t *testing.T, a *authority) string {
	return write(t, filepath.Join(t.TempDir(), "ca.pem"), a.pem)
}

func clientFiles(t *testing.T, a *authority) TLS {
	t.Helper()
	dir := t.TempDir()
	cert, key := a.issue(t, "client.test", time.Now().Add(time.Hour))
	return TLS{CertFile: write(t, filepath.Join(dir, "client.pem"), cert), KeyFile: write(t, filepath.Join(dir, "client.key"), key)}
}

func TestTLS(t *testing.T) {
	private, other := newAuthority("private"), newAuthority("other")
	ca := caFile(t, private)
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	pool := x509.NewCertPool()
	pool.AddCert(private.cert)
	requireCert := func() *tls.Config {
		return &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	}
	with := func(c TLS, change func(*TLS)) TLS { change(&c); return c }

	for _, c := range []struct {
		name     string
		issuer   *authority
		subject  string
		notAfter time.Time
		server   *tls.Config
		client   TLS
		ok       bool
		as       any    // a pointer to the error's type
		text     string // a part of the error
	}{
		{name: "private authority", client: TLS{CAFile: ca}, ok: true},
		{name: "private authority, not known", client: TLS{}, as: new(x509.UnknownAuthorityError)},
		{name: "another authority", issuer: other, client: TLS{CAFile: ca}, as: new(x509.UnknownAuthorityError)},
		{name: "the system's authority", issuer: systemCA, client: TLS{}, ok: true},
		{name: "the system's authority beside the file's", issuer: systemCA, client: TLS{CAFile: ca}, ok: true},

		{name: "wrong name", subject: "other.test", client: TLS{CAFile: ca}, as: new(x509.HostnameError)},
		{name: "server name", subject: "other.test", client: TLS{CAFile: ca, ServerName: "other.test"}, ok: true},
		{name: "server name, wrong", client: TLS{CAFile: ca, ServerName: "other.test"}, as: new(x509.HostnameError)},
		{name: "server name, an address", client: TLS{CAFile: ca, ServerName: "127.0.0.1"}, ok: true},

		{name: "expired", notAfter: past, client: TLS{CAFile: ca}, as: new(x509.CertificateInvalidError), text: "expired"},
		{name: "insecure", issuer: other, subject: "other.test", notAfter: past, client: TLS{InsecureSkipVerify: true}, ok: true},

		{name: "TLS 1.2", server: &tls.Config{MaxVersion: tls.VersionTLS12}, client: TLS{CAFile: ca}, ok: true},
		{name: "TLS 1.1", server: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, client: TLS{CAFile: ca}, text: "protocol version"},
		{name: "TLS 1.1, insecure", server: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, client: TLS{InsecureSkipVerify: true}, text: "protocol version"},

		{name: "client certificate", server: requireCert(), client: with(clientFiles(t, private), func(c *TLS) { c.CAFile = ca }), ok: true},
		{name: "client certificate, none", server: requireCert(), client: TLS{CAFile: ca}},
		{name: "client certificate, another's", server: requireCert(), client: with(clientFiles(t, other), func(c *TLS) { c.CAFile = ca })},
		{name: "client certificate, not asked for", client: with(clientFiles(t, private), func(c *TLS) { c.CAFile = ca }), ok: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.issuer == systemCA && runtime.GOOS != "linux" {
				t.Skip("SSL_CERT_FILE")
			}
			if c.issuer == nil {
				c.issuer = private
			}
			if c.subject == "" {
				c.subject = "127.0.0.1"
			}
			if c.notAfter.IsZero() {
				c.notAfter = later
			}
			cert, key := c.issuer.issue(t, c.subject, c.notAfter)
			r := newTLSReceiver(t, cert, key, c.server)
			err := get(t, transport(t, Config{TLS: c.client}, seams{}), r.URL)
			if c.ok {
				require.NoError(t, err)
				assert.Equal(t, 2, r.seen.Load().ProtoMajor)
				if c.server != nil && c.server.ClientAuth != tls.NoClientCert {
					assert.Equal(t, "client.test", r.caller())
				}
				return
			}
			require.Error(t, err)
			assert.Nil(t, r.seen.Load())
			if c.as != nil {
				assert.ErrorAs(t, err, c.as)
			}
			assert.ErrorContains(t, err, c.text)
		})
	}
}

// TestRotation: the certificate follows its files, and the old one serves as long as
// the new one is not whole.
func TestRotation(t *testing.T) {
	ca := newAuthority("private")
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	later := time.Now().Add(time.Hour)
	cert, key := ca.issue(t, "127.0.0.1", later)
	r := newTLSReceiver(t, cert, key, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})

	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert1, key1 := ca.issue(t, "first", later)
	cert2, key2 := ca.issue(t, "second", later)
	cert3, key3 := ca.issue(t, "third", later)
	write(t, certFile, cert1)
	write(t, keyFile, key1)
	tr := transport(t, Config{TLS: TLS{CAFile: caFile(t, ca), CertFile: certFile, KeyFile: keyFile}}, seams{})

	called := func(want string) {
		t.Helper()
		tr.CloseIdleConnections()
		require.NoError(t, get(t, tr, r.URL))
		require.Equal(t, want, r.caller())
	}
	called("first")
	called("first")

	write(t, certFile, cert2)
	called("first") // the key is still the first's
	write(t, keyFile, key2)
	called("second")

	require.NoError(t, os.Remove(certFile))
	called("second")
	write(t, certFile, []byte("-----BEGIN CERT"))
	called("second")

	// In place, as some tools do. The time is what tells.
	require.NoError(t, os.WriteFile(certFile, cert3, 0o600))
	require.NoError(t, os.WriteFile(keyFile, key3, 0o600))
	soon := time.Now().Add(time.Minute)
	require.NoError(t, os.Chtimes(keyFile, soon, soon))
	called("third")

	// As Kubernetes does: the files are links into a directory that is exchanged.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "new"), 0o700))
	write(t, filepath.Join(dir, "new", "tls.crt"), cert1)
	write(t, filepath.Join(dir, "new", "tls.key"), key1)
	for _, name := range []string{"tls.crt", "tls.key"} {
		require.NoError(t, os.Symlink(filepath.Join("new", name), filepath.Join(dir, name+".link")))
		require.NoError(t, os.Rename(filepath.Join(dir, name+".link"), filepath.Join(dir, name)))
	}
	called("first")
}

// TestRotationOfAnExpired: once the old certificate has expired, what is wrong with
// the new one is said.
func TestRotationOfAnExpired(t *testing.T) {
	dir := t.TempDir()
	cert, key := newAuthority("private").issue(t, "client.test", time.Now().Add(-time.Hour))
	certFile := write(t, filepath.Join(dir, "tls.crt"), cert)
	keyFile := write(t, filepath.Join(dir, "tls.key"), key)
	config, err := TLS{CertFile: certFile, KeyFile: keyFile}.Config()
	require.NoError(t, err)
	pair, err := config.GetClientCertificate(&tls.CertificateRequestInfo{})
	require.NoError(t, err)
	assert.Equal(t, "client.test", pair.Leaf.Subject.CommonName)

	require.NoError(t, os.Remove(keyFile))
	_, err = config.GetClientCertificate(&tls.CertificateRequestInfo{})
	var field *FieldError
	require.ErrorAs(t, err, &field)
	assert.Equal(t, "keyfile", field.Field)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, keyFile)
}

// TestSame: each of size, time and identity tells two files apart when the others do
// not.
func TestSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	then := time.Now().Add(-time.Hour)
	stat := func(text string, mtime time.Time, write func(string, []byte, os.FileMode) error) os.FileInfo {
		require.NoError(t, write(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, mtime, mtime))
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info
	}
	renamed := func(path string, text []byte, _ os.FileMode) error {
		write(t, path, text)
		return nil
	}
	a := stat("a", then, os.WriteFile)
	assert.True(t, same(a, stat("b", then, os.WriteFile)))
	assert.False(t, same(a, stat("b", then.Add(time.Second), os.WriteFile)), "time")
	assert.False(t, same(a, stat("bb", then, os.WriteFile)), "size")
	assert.False(t, same(a, stat("b", then, renamed)), "identity")
	assert.False(t, same(a, nil))
	assert.False(t, same(nil, nil), "a file that is not there is not one that did not change")
}

// TestUnchangedFilesAreNotReadAgain: a handshake costs two stats and no parsing.
func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	config, err := clientFiles(t, systemCA).Config()
	require.NoError(t, err)
	a, err := config.GetClientCertificate(nil)
	require.NoError(t, err)
	b, err := config.GetClientCertificate(nil)
	require.NoError(t, err)
	assert.Same(t, a, b)
}

func TestTLSErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, text string) string { return write(t, filepath.Join(dir, name), []byte(text)) }
	ca := newAuthority("private")
	cert, key := ca.issue(t, "client.test", time.Now().Add(time.Hour))
	_, otherKey := ca.issue(t, "other.test", time.Now().Add(time.Hour))
	keyBlock, _ := pem.Decode(key)
	cut := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyBlock.Bytes[:60]})
	secret := strings.Split(string(key), "\n")[1][:40]

	whole := string(ca.pem)
	certFile, keyFile := file("cert.pem", string(cert)), file("key.pem", string(key))
	missing := filepath.Join(dir, "missing")

	for _, c := range []struct {
		name  string
		tls   TLS
		field string
		want  []string
	}{
		{"no CA file", TLS{CAFile: missing}, "cafile", []string{missing, "no such file"}},
		{"CA directory", TLS{CAFile: dir}, "cafile", []string{dir, "directory"}},
		{"empty CA file", TLS{CAFile: file("empty", "")}, "cafile", []string{"empty", "no certificate"}},
		{"CA without PEM", TLS{CAFile: file("text", "hello")}, "cafile", []string{"text", "no certificate"}},
		{"CA in DER", TLS{CAFile: file("der", string(ca.cert.Raw))}, "cafile", []string{"no certificate"}},
		{"CA block damaged", TLS{CAFile: file("damaged", whole+strings.Replace(whole, "MII", "M*I", 1))}, "cafile", []string{"damaged", "1 of 2 blocks"}},
		{"CA cut short", TLS{CAFile: file("cut", whole+whole[:len(whole)/2])}, "cafile", []string{"cut", "1 of 2 blocks"}},
		{"CA block not a certificate's", TLS{CAFile: file("junk", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")}, "cafile", []string{"junk", "block 1", "x509"}},
		{"CA file with a key", TLS{CAFile: file("withkey", whole+string(key))}, "cafile", []string{"withkey", "block 2 is not a certificate"}},
		{"CA pasted", TLS{CAFile: whole}, "cafile", []string{"not shown"}},

		{"no key", TLS{CertFile: certFile}, "keyfile", []string{"both or none"}},
		{"no certificate", TLS{KeyFile: keyFile}, "certfile", []string{"both or none"}},
		{"missing certificate", TLS{CertFile: missing, KeyFile: keyFile}, "certfile", []string{missing}},
		{"missing key", TLS{CertFile: certFile, KeyFile: missing}, "keyfile", []string{missing}},
		{"empty key", TLS{CertFile: certFile, KeyFile: file("nokey", "")}, "certfile", []string{certFile, "nokey"}},
		{"another's key", TLS{CertFile: certFile, KeyFile: file("other", string(otherKey))}, "certfile", []string{certFile, "other", "does not match"}},
		{"switched", TLS{CertFile: keyFile, KeyFile: certFile}, "certfile", []string{"switched"}},
		{"key cut short", TLS{CertFile: certFile, KeyFile: file("short", string(cut))}, "certfile", []string{"short"}},
		{"key without an end", TLS{CertFile: certFile, KeyFile: file("noend", string(key)[:len(key)/2])}, "certfile", []string{"noend"}},
		{"key pasted", TLS{CertFile: certFile, KeyFile: string(key)}, "keyfile", []string{"not shown"}},
		{"both pasted", TLS{CertFile: string(cert), KeyFile: string(key)}, "certfile", []string{"not shown"}},
		{"pasted in place of the certificate", TLS{CertFile: string(key), KeyFile: keyFile}, "certfile", []string{"not shown"}},

		{"server name with a port", TLS{ServerName: "receiver.test:443"}, "servername", []string{"receiver.test:443", "without a port"}},
		{"server name that is a URL", TLS{ServerName: "https://receiver.test"}, "servername", nil},
		{"server name with a zone", TLS{ServerName: "fe80::1%eth0"}, "servername", nil},
		{"server name in brackets", TLS{ServerName: "[::1]"}, "servername", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := c.tls.Config()
			assert.Nil(t, config)
			var field *FieldError
			require.ErrorAs(t, err, &field)
			assert.Equal(t, c.field, field.Field)
			for _, want := range append(c.want, c.field+": ", "allowed") {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), secret)
			assert.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString(keyBlock.Bytes)[:20])
		})
	}
}

// TestCAFileWithComments: bundles have names between their certificates.
func TestCAFileWithComments(t *testing.T) {
	text := "# one\n" + string(newAuthority("one").pem) + "\n# two\r\n" + string(newAuthority("two").pem) + "the end\n"
	config, err := TLS{CAFile: write(t, filepath.Join(t.TempDir(), "ca.pem"), []byte(text))}.Config()
	require.NoError(t, err)
	assert.NotNil(t, config.RootCAs)
	for _, name := range []string{"", "receiver.test", "a_b-c.test", "192.0.2.1", "2001:db8::1"} {
		_, err := TLS{ServerName: name}.Config()
		assert.NoError(t, err, name)
	}
}
