package notifications

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// redacted stands for what must not be seen.
const redacted = "[redacted]"

// redactURL returns a URL as it may be shown: no user, no password, no query.
// Nothing at all is shown of what is not a URL.
func redactURL(raw string) string {
	if raw == "" {
		return `""`
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return redacted
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.User != nil {
		shown.User = url.User("redacted")
	}
	if u.RawQuery != "" {
		shown.RawQuery = "redacted"
	}
	return shown.String()
}

// redactHeaders returns headers as they may be shown: the names.
func redactHeaders(h http.Header) http.Header {
	if h == nil {
		return nil
	}
	shown := make(http.Header, len(h))
	for name, values := range h {
		for range values {
			shown[name] = append(shown[name], redacted)
		}
	}
	return shown
}

// redactKeys returns signing keys as they may be shown: where they come from.
func redactKeys(specs []string) (shown []string) {
	for _, s := range specs {
		if !strings.HasPrefix(s, "file:") && !strings.HasPrefix(s, "env:") {
			s = redacted
		}
		shown = append(shown, s)
	}
	return shown
}

// replacer takes secrets out of a text. Those of one or two letters stay: a text
// without any a is of no use, and says that there was one.
func replacer(secrets []string) *strings.Replacer {
	for _, s := range secrets {
		if _, token, ok := strings.Cut(s, " "); ok {
			secrets = append(secrets, token) // of "Bearer token"
		}
	}
	// The longest first, or a short one could take a piece out of a long one.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range secrets {
		if len(s) > 2 {
			pairs = append(pairs, s, redacted)
		}
	}
	return strings.NewReplacer(pairs...)
}
