package comparison

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/stretchr/testify/require"
)

// Dashboards find the endpoints of both in one list, under the same keys.
func TestExpvar(t *testing.T) {
	theirs, ours := newStream(t), newStream(t)
	config := serverConfig(theirs.url, configuration.Parameters{
		"endpoints": []any{map[any]any{
			"name": "ours", "url": ours.url, "headers": map[any]any{"X-Key": []any{"hunter2"}},
			"ignoredmediatypes": []any{"text/plain"},
			"ignore":            map[any]any{"mediatypes": []any{"text/html"}, "actions": []any{"pull"}},
		}},
	})
	their := &config.Notifications.Endpoints[0]
	their.Headers = http.Header{"X-Key": {"hunter2"}}
	their.IgnoredMediaTypes = []string{"text/plain"}
	their.Ignore = configuration.Ignore{MediaTypes: []string{"text/html"}, Actions: []string{"pull"}}

	client := startServer(t, config)
	require.Empty(t, missing("", published(t, "theirs", theirs.url), published(t, "ours", ours.url)), "before the first event")

	for _, repository := range []string{"library/app", "sentinel/repo"} {
		require.NoError(t, client.Push(repository).Do(t.Context()))
	}
	theirs.until(t, "sentinel/repo")
	ours.until(t, "sentinel/repo")

	// A receiver has an event a little before the registry knows that it has.
	require.Eventually(t, func() bool {
		for _, e := range []values{published(t, "theirs", theirs.url), published(t, "ours", ours.url)} {
			if at(e, "Metrics", "Successes") != json.Number("2") || at(e, "Metrics", "Pending") != json.Number("0") {
				return false
			}
		}
		return true
	}, time.Minute, time.Millisecond)

	there, here := published(t, "theirs", theirs.url), published(t, "ours", ours.url)
	require.Empty(t, missing("", there, here), "paths that a dashboard finds in theirs and not in ours")
	for _, key := range []string{"Pending", "Events", "Successes", "Failures", "Errors", "Statuses"} {
		require.Equal(t, at(there, "Metrics", key), at(here, "Metrics", key), key)
	}
	require.NotContains(t, fmt.Sprint(here), "hunter2")
}

// published returns an endpoint from the list in expvar.
func published(t *testing.T, name, url string) values {
	t.Helper()
	var list []values
	endpoints := expvar.Get("registry").(*expvar.Map).Get("notifications").(*expvar.Map).Get("endpoints")
	decodeJSON(t, endpoints.String(), &list)
	i := slices.IndexFunc(list, func(e values) bool { return e["name"] == name && e["url"] == url })
	require.GreaterOrEqual(t, i, 0, "%s is not in the list", name)
	return list[i]
}

// missing returns the paths that theirs has and ours has not, or has with another
// type.
func missing(path string, theirs, ours any) (paths []string) {
	there, isMap := theirs.(values)
	if !isMap {
		if fmt.Sprintf("%T", theirs) != fmt.Sprintf("%T", ours) {
			paths = append(paths, path)
		}
		return paths
	}
	here, isMap := ours.(values)
	if !isMap {
		return []string{path}
	}
	for key, value := range there {
		if _, found := here[key]; !found {
			paths = append(paths, path+"."+key)
			continue
		}
		paths = append(paths, missing(path+"."+key, value, here[key])...)
	}
	return paths
}
