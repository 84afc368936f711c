package ociregistry

import (
	"net/http"
	"net/url"
	"strings"
)

// isAtStorage says whether a redirect leads to where a blob is stored, as far as can be seen:
// not back to what was asked for, by another scheme, host or spelling, and not to a login.
func (h *handler) isAtStorage(r *http.Request, to route, answer http.Header) bool {
	u, err := r.URL.Parse(value(answer, "Location"))
	if err != nil {
		return false
	}
	path, _ := strings.CutPrefix(u.Path, h.root)
	if (u.Path == r.URL.Path || parse(path) == to) && u.RawQuery == r.URL.RawQuery {
		return false
	}
	// Most storage names a blob by its digest. Some has names of its own, so only what is
	// surely something else is not taken for it.
	_, encoded, _ := strings.Cut(to.reference, ":")
	return strings.Contains(u.Path, encoded) || !isLogin(r, u, answer)
}

// isLogin says whether a redirect surely has a client log in: the answer asks who it is, or
// the place is called a login, is one by OAuth or SAML, or is told where to lead back to.
func isLogin(r *http.Request, u *url.URL, answer http.Header) bool {
	if value(answer, "Www-Authenticate") != "" {
		return true
	}
	for part := range strings.SplitSeq(strings.ToLower(u.Path), "/") {
		if part == "login" || part == "signin" || part == "sign_in" {
			return true
		}
	}
	query := u.Query()
	if query.Has("response_type") || query.Has("SAMLRequest") {
		return true
	}
	for _, values := range query {
		for _, v := range values {
			if strings.Contains(v, r.URL.Path) {
				return true
			}
		}
	}
	return false
}
