package stocktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
)

// Each way in which servers know a client.
func TestAuthentication(t *testing.T) {
	ca := authority(t)
	user := newKey(t, nkeys.PrefixByteUser)
	serverTLS := func(o *server.Options) {
		certificate, err := tls.LoadX509KeyPair(ca.issue("127.0.0.1"))
		require.NoError(t, err)
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: ca.pool}
	}
	clientCert, clientKey := ca.issue("registry")
	operator, credentials := operatorMode(t)

	for name, c := range map[string]struct {
		server  func(*server.Options)
		user    string // in the URL
		options string
	}{
		"user":        {func(o *server.Options) { o.Username, o.Password = "registry", secret }, "", ", user: registry, password: " + secret},
		"user in URL": {func(o *server.Options) { o.Username, o.Password = "registry", secret }, "registry:" + secret + "@", ""},
		"token":       {func(o *server.Options) { o.Authorization = secret }, "", ", token: " + secret},
		"nkey":        {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: user.public}} }, "", ", nkey: " + user.file},
		"credentials": {operator, "", ", credentials: " + credentials},
		"TLS":         {serverTLS, "", ", tls: {cafile: " + ca.file + "}"},
		"certificate": {func(o *server.Options) {
			serverTLS(o)
			o.TLSConfig.ClientAuth = tls.RequireAndVerifyClientCert
			o.TLSVerify = true
		}, "", ", tls: {cafile: " + ca.file + ", certfile: " + clientCert + ", keyfile: " + clientKey + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			logs := logged(t)
			nats, w := cluster(t, c.server), newWebhook(t)
			r := start(t, options(strings.Replace(nats.URL(), "nats://", "nats://"+c.user, 1), w.url, c.options))
			r.pushImage("library/app", "v1")
			w.waitFor(t, "push blob", "push manifest")
			require.NoError(t, r.shutdown())

			require.NotEmpty(t, logs.AllEntries())
			for _, e := range logs.AllEntries() {
				text, err := e.String()
				require.NoError(t, err)
				require.NotContains(t, text, secret)
				require.NotContains(t, text, user.seed)
			}
			if c.options != "" {
				require.Contains(t, refused(t, options(nats.URL(), w.url, "")), path)
			}
		})
	}
}

// What the documentation says a user needs is enough.
func TestPermissions(t *testing.T) {
	c := cluster(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "registry", Password: secret, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: documented(t, "to publish to", ", and to subscribe")},
			Subscribe: &server.SubjectPermission{Allow: documented(t, "to subscribe to", "\n")},
		}}}
	})
	logs, w := logged(t), newWebhook(t)
	r := start(t, strings.Replace(givesUp(c, w, ""), "lease: 1s", "lease: 1s, user: registry, password: "+secret, 1))
	r.pushImage("library/app", "v1")
	w.waitFor(t, "push blob", "push manifest")
	w.away.Store(true)
	r.pushBlob("library/app", "x")
	waitForLine(t, logs, "event is a dead letter")
	require.NoError(t, r.shutdown())
	for _, e := range lines(logs, "refuses") {
		require.NoError(t, e.Data[logrus.ErrorKey].(error))
	}
}

// documented returns the subjects that the documentation has between two texts.
func documented(t *testing.T, from, to string) []string {
	t.Helper()
	b, err := os.ReadFile("../doc.go")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(strings.ReplaceAll(string(b), "\n// ", " "), from+" ")
	require.True(t, ok)
	list, _, ok := strings.Cut(rest, to)
	require.True(t, ok)
	return strings.Split(strings.TrimRight(strings.ReplaceAll(list, " and ", ", "), "."), ", ")
}

// ca is an authority for certificates.
type ca struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	file string // its own certificate
}

func authority(t *testing.T) *ca {
	t.Helper()
	c := &ca{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	require.NoError(t, err)
	c.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	c.pool.AddCert(c.cert)
	c.file = write(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return c
}

// issue makes a certificate and its key.
func (c *ca) issue(name string) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(c.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	require.NoError(c.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(c.t, err)
	return write(c.t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		write(c.t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func write(t *testing.T, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// key is one of NATS's own, with its seed in a file.
type key struct {
	nkeys.KeyPair
	public, seed, file string
}

func newKey(t *testing.T, prefix nkeys.PrefixByte) key {
	t.Helper()
	pair, err := nkeys.CreatePair(prefix)
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	return key{pair, public, string(seed), write(t, append(seed, '\n'))}
}

// operatorMode returns what has a server know users by their JWTs, and the credentials of one.
func operatorMode(t *testing.T) (change func(*server.Options), credentials string) {
	t.Helper()
	operator, system := newKey(t, nkeys.PrefixByteOperator), newKey(t, nkeys.PrefixByteAccount)
	account, user := newKey(t, nkeys.PrefixByteAccount), newKey(t, nkeys.PrefixByteUser)

	operatorClaims := jwt.NewOperatorClaims(operator.public)
	operatorClaims.SystemAccount = system.public
	systemClaims, accountClaims := jwt.NewAccountClaims(system.public), jwt.NewAccountClaims(account.public)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}

	resolver := new(server.MemAccResolver)
	for _, claims := range []*jwt.AccountClaims{systemClaims, accountClaims} {
		token, err := claims.Encode(operator)
		require.NoError(t, err)
		require.NoError(t, resolver.Store(claims.Subject, token))
	}
	_, err := operatorClaims.Encode(operator)
	require.NoError(t, err)
	userToken, err := jwt.NewUserClaims(user.public).Encode(account)
	require.NoError(t, err)
	file, err := jwt.FormatUserConfig(userToken, []byte(user.seed))
	require.NoError(t, err)
	return func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{operatorClaims}, resolver, system.public
	}, write(t, file)
}
