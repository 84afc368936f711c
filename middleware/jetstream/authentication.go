package jetstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
)

// authenticate sets how the servers know the client: in one way, because of two the client
// would send one, and say nothing of the other.
func (o *options) authenticate(to *nats.Options) error {
	var ways []string
	for i, s := range o.Servers {
		if u, err := url.Parse(s); err == nil && u.User != nil {
			ways = append(ways, fmt.Sprintf("servers[%d]", i))
			break
		}
	}
	for _, way := range []struct{ name, value string }{
		{"user", o.User}, {"token", o.Token}, {"credentials", o.Credentials}, {"nkey", o.NKey},
	} {
		if way.value != "" {
			ways = append(ways, way.name)
		}
	}
	switch {
	case len(ways) > 1:
		return wrong(ways[1], "is set, and %s says who this is, too: allowed is one of both", ways[0])
	case o.Password != "" && o.User == "":
		return wrong("password", "is set, and user is not: allowed are both or none")
	}
	to.User, to.Password, to.Token = o.User, o.Password, o.Token
	if o.Credentials != "" {
		return o.useCredentials(to)
	}
	if o.NKey != "" {
		return o.useNKey(to)
	}
	return nil
}

// useCredentials has the file read anew for each connection. It is tried once here.
func (o *options) useCredentials(to *nats.Options) error {
	const field, allowed = "credentials", "a file with a user's JWT and seed, as nsc makes it"
	if err := readable(field, o.Credentials, allowed); err != nil {
		return err
	}
	if err := nats.UserCredentials(o.Credentials)(to); err != nil {
		return inFile(field, o.Credentials, allowed, err)
	}
	token, err := to.UserJWT()
	if err == nil && strings.Count(token, ".") != 2 {
		err = errors.New("has no JWT")
	}
	if err == nil {
		_, err = to.SignatureCB([]byte("nonce"))
	}
	return inFile(field, o.Credentials, allowed, err)
}

func (o *options) useNKey(to *nats.Options) error {
	const field, allowed = "nkey", "a file with a user's seed"
	if err := readable(field, o.NKey, allowed); err != nil {
		return err
	}
	use, err := nats.NkeyOptionFromSeed(o.NKey)
	if err == nil {
		err = use(to)
	}
	return inFile(field, o.NKey, allowed, err)
}

// apply has the files read anew for each connection.
func (o *tlsOptions) apply(to *nats.Options) error {
	switch {
	case o.CertFile != "" && o.KeyFile == "":
		return wrong("tls.keyfile", "empty, and certfile is not: allowed are both or none")
	case o.CertFile == "" && o.KeyFile != "":
		return wrong("tls.certfile", "empty, and keyfile is not: allowed are both or none")
	}
	const allowed = "a PEM file"
	for _, f := range []struct{ name, path string }{
		{"tls.cafile", o.CAFile}, {"tls.certfile", o.CertFile}, {"tls.keyfile", o.KeyFile},
	} {
		if f.path == "" {
			continue
		}
		if err := readable(f.name, f.path, allowed); err != nil {
			return err
		}
	}
	if o.CAFile != "" {
		if err := nats.RootCAs(o.CAFile)(to); err != nil {
			return inFile("tls.cafile", o.CAFile, allowed, errors.New("has no certificate"))
		}
		to.Secure = true
	}
	if o.CertFile != "" {
		if err := nats.ClientCert(o.CertFile, o.KeyFile)(to); err != nil {
			return inFile("tls.certfile", o.CertFile, allowed, err)
		}
	}
	return nil
}

// readable returns an error if a file cannot be read.
func readable(field, path, allowed string) error {
	f, err := os.Open(path)
	if err == nil {
		_, err = f.Read(make([]byte, 1)) // a directory can be opened
		_ = f.Close()
	}
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		err = pathError.Err // without the path, which may be none
	}
	return inFile(field, path, allowed, err)
}

// inFile names the option whose file is wrong.
func inFile(field, path, allowed string, err error) error {
	if err == nil {
		return nil
	}
	return wrong(field, "%s: %w: allowed is the path of %s", shownPath(path), err, allowed)
}

// shownPath returns a path as it may be shown. What does not look like one may be the key
// itself that was to be in the file.
func shownPath(path string) string {
	if len(path) > 4096 || strings.ContainsAny(path, "\r\n") || !strings.ContainsRune(path, filepath.Separator) {
		return "[redacted]"
	}
	return path
}
