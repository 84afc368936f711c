package outbound

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// TLS is how TLS is done. The zero value has the defaults: TLS 1.2 or later, the
// system's certificate authorities, no client certificate.
type TLS struct {
	// CAFile is a PEM file of certificate authorities that are trusted besides the
	// system's. Besides, not instead: a private authority is named because the system
	// does not know it, and a receiver that moves to a public one, or a second
	// receiver that has one, would fail if this shut the public ones out.
	CAFile string

	// CertFile and KeyFile are PEM files of the certificate, with its chain, and of
	// the key with which receivers are shown who calls. They are read again when they
	// change; connections that are open keep what they were opened with.
	CertFile string
	KeyFile  string

	// ServerName is who the receiver has to prove to be. Empty means the URL's host.
	ServerName string

	// InsecureSkipVerify takes whoever answers for the receiver.
	InsecureSkipVerify bool
}

// Config reads the files and returns what crypto/tls needs. The error is a
// *FieldError. It names files but shows nothing of what is in them.
func (c TLS) Config() (*tls.Config, error) {
	if !serverName(c.ServerName) {
		return nil, wrong("servername", "%.100q: allowed is a host name or an address, without a port", c.ServerName)
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.ServerName,
		InsecureSkipVerify: c.InsecureSkipVerify,
	}
	if c.CAFile != "" {
		roots, err := readRoots(c.CAFile)
		if err != nil {
			return nil, &FieldError{Field: "cafile", Err: err}
		}
		config.RootCAs = roots
	}

	switch {
	case c.CertFile != "" && c.KeyFile != "":
		pair := &keyPair{certFile: c.CertFile, keyFile: c.KeyFile}
		if _, err := pair.get(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = pair.forServer
	case c.CertFile != "":
		return nil, wrong("keyfile", "empty, and certfile is not: allowed are both or none")
	case c.KeyFile != "":
		return nil, wrong("certfile", "empty, and keyfile is not: allowed are both or none")
	}
	return config, nil
}

// serverName lets through what can be in a certificate. A name with a port would
// fail every handshake.
func serverName(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r))
	})
}

func readRoots(path string) (*x509.CertPool, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // to trust fewer is the safe way to fail
	}

	// AppendCertsFromPEM passes over what it cannot read, and the operator would hear
	// of a bundle cut short from a handshake, one day.
	blocks := 0
	for rest := text; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%q: block %d is not a certificate: allowed are CERTIFICATE blocks", path, blocks+1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%q: block %d: %w: allowed are CERTIFICATE blocks", path, blocks+1, err)
		}
		roots.AddCert(cert)
	}
	if begun := bytes.Count(text, []byte("-----BEGIN ")); blocks < begun {
		return nil, fmt.Errorf("%q: %d of %d blocks cannot be read: allowed are CERTIFICATE blocks", path, begun-blocks, begun)
	}
	if blocks == 0 {
		return nil, fmt.Errorf("%q: has no certificate in it: allowed are CERTIFICATE blocks in PEM", path)
	}
	return roots, nil
}

// readFile is os.ReadFile, with an error that shows a path only if it is one: a key
// pasted in place of the file's name must not come out in a log.
func readFile(path string) ([]byte, error) {
	if strings.Contains(path, "-----BEGIN") || strings.ContainsAny(path, "\r\n") {
		return nil, errors.New("is the content of a file, not shown here: allowed is the path of one")
	}
	text, err := os.ReadFile(path)
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return nil, fmt.Errorf("%q: %w: allowed is a PEM file that can be read", path, p.Err)
	}
	return text, err
}
