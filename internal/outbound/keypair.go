package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// keyPair is a client certificate that follows its files.
type keyPair struct {
	certFile, keyFile string

	mu        sync.Mutex // guards the rest, and is held while the files are read
	current   *tls.Certificate
	cert, key os.FileInfo // of the files that current was read from
}

// forServer is tls.Config.GetClientCertificate.
func (p *keyPair) forServer(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.get() }

// get returns the certificate, read anew if a file changed. While the new pair is not
// whole, as between the writing of its two files, the old one still serves, until it
// expires.
func (p *keyPair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	// Before the files are read: what changes while they are is then seen next time.
	cert, _ := os.Stat(p.certFile)
	key, _ := os.Stat(p.keyFile)
	if p.current != nil && same(p.cert, cert) && same(p.key, key) {
		return p.current, nil
	}
	pair, err := p.read()
	if err != nil {
		if p.current != nil && time.Now().Before(p.current.Leaf.NotAfter) {
			return p.current, nil
		}
		return nil, err
	}
	p.current, p.cert, p.key = pair, cert, key
	return pair, nil
}

// same goes by the file's identity too: a file that another was renamed over may
// have its size, and its time where clocks are coarse.
func same(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (p *keyPair) read() (*tls.Certificate, error) {
	cert, err := readFile(p.certFile)
	if err != nil {
		return nil, &FieldError{Field: "certfile", Err: err}
	}
	key, err := readFile(p.keyFile)
	if err != nil {
		return nil, &FieldError{Field: "keyfile", Err: err}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &FieldError{Field: "certfile", Err: fmt.Errorf("%q, with keyfile %q: %w: allowed are a certificate and its key, in PEM", p.certFile, p.keyFile, err)}
	}
	if pair.Leaf == nil { // GODEBUG=x509keypairleaf=0
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, &FieldError{Field: "certfile", Err: fmt.Errorf("%q: %w", p.certFile, err)}
		}
	}
	return &pair, nil
}
