package notifications

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// target is where an HTTP sink posts to and what it says besides the events. All
// of it may be secret, so it is only ever held by pointer, where %+v does not
// follow, and String is what may be shown.
type target struct {
	url     *url.URL // without the user
	host    string
	headers http.Header // canonical names
	secrets *strings.Replacer
	longest int // of the secrets, in bytes
	shown   string
}

func newTarget(rawURL string, headers http.Header, keys []string) (*target, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		// Even the reason why it does not parse can have a piece of the password in it.
		return nil, wrong("url", "%s: allowed is http:// or https://, a host and a path", redactURL(rawURL))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, wrong("url", "%s: port: allowed are 1 to 65535", redactURL(rawURL))
		}
	}

	t := &target{headers: make(http.Header, len(headers)), shown: redactURL(rawURL)}
	secrets := slices.Clone(keys)
	for name, values := range headers {
		name = http.CanonicalHeaderKey(name)
		if _, twice := t.headers[name]; twice {
			return nil, wrong("headers", "%q: is there twice: allowed is one list of values", name)
		}
		t.headers[name] = append([]string(nil), values...)
		secrets = append(secrets, values...)
	}
	if t.host = t.headers.Get("Host"); strings.ContainsFunc(t.host, notHost) {
		return nil, wrong("headers", "Host: is not a host: allowed are a name or an address, and a port")
	}
	delete(t.headers, "Host")

	if u.User != nil {
		if t.headers["Authorization"] != nil {
			return nil, wrong("url", "%s: has a user, and headers has Authorization: allowed is one of them", t.shown)
		}
		r := http.Request{Header: t.headers}
		password, _ := u.User.Password()
		r.SetBasicAuth(u.User.Username(), password)
		secrets = append(secrets, password, u.User.Username(), u.User.String(), t.headers.Get("Authorization"))
	}
	secrets = append(secrets, u.RawQuery, rawURL)
	for _, values := range u.Query() {
		secrets = append(secrets, values...)
	}

	t.url = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	t.secrets = replacer(secrets)
	for _, s := range secrets {
		t.longest = max(t.longest, len(s))
	}
	return t, nil
}

func (t *target) String() string { return t.shown }

// clean takes out of an error what a receiver may have made of our secrets.
func (t *target) clean(err error) error {
	if text := t.secrets.Replace(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// whole drops from the end of a text that was cut what could be a piece of a secret.
func (t *target) whole(text string) string {
	if len(text) < maxReadAnswer {
		return text
	}
	return text[:max(0, len(text)-t.longest)]
}

// printable makes a text of the receiver's fit to be shown: one line of printable
// characters, without secrets that it may have echoed, and not too long.
func (t *target) printable(text string) string {
	text = t.secrets.Replace(strings.ToValidUTF8(text, "\ufffd"))
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	for len(text) > maxShownAnswer {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// checkHeaders refuses what net/http would refuse at every attempt (RFC 9110, 5.1
// and 5.5), and what would break the message's framing.
func checkHeaders(h http.Header) error {
	for name, values := range h {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade":
			return wrong("headers", "%q: is set by the transport: allowed are headers of the request's own", name)
		}
		if name == "" || strings.ContainsFunc(name, notToken) {
			return wrong("headers", "%q: is not a header name: allowed are letters, digits and !#$%%&'*+-.^_`|~", name)
		}
		for i, v := range values {
			if strings.ContainsFunc(v, control) {
				return wrong("headers", "%s[%d]: has a control character: allowed are visible characters, spaces and tabs", name, i)
			}
		}
	}
	return nil
}

func notToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

func notHost(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/\\@?#\"<>", r) }

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
