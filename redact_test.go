package notifications_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
)

// textFields says of each field of an EndpointConfig that holds text whether it may
// be seen. A field that is missing here fails the test: decide, and then add it.
var textFields = map[string]bool{
	"Name": true, "MediaType": true, "Overflow": true, "IgnoredMediaTypes": true,
	"TLS.CAFile": true, "TLS.CertFile": true, "TLS.KeyFile": true, "TLS.ServerName": true,
	"Addresses.Allow": true, "Addresses.Deny": true,
	"Only.MediaTypes": true, "Only.Actions": true, "Only.Repositories": true,
	"Ignore.MediaTypes": true, "Ignore.Actions": true, "Ignore.Repositories": true,

	"URL": false, "Headers": false, "SigningKeys": false,
}

// eachText calls do with every field that holds text, however deep, and with a way to
// set it.
func eachText(v reflect.Value, path string, do func(path string, set func(text string))) {
	for i := range v.NumField() {
		f, name := v.Field(i), path+v.Type().Field(i).Name
		switch {
		case f.Kind() == reflect.String:
			do(name, f.SetString)
		case f.Type() == reflect.TypeFor[[]string]():
			do(name, func(text string) { f.Set(reflect.ValueOf([]string{text})) })
		case f.Type() == reflect.TypeFor[http.Header]():
			do(name, func(text string) { f.Set(reflect.ValueOf(http.Header{"X-Token": {text}})) })
		case f.Kind() == reflect.Struct:
			eachText(f, name+".", do)
		}
	}
}

// TestEveryFieldShownOrNot puts a text into every field of the configuration, by
// itself, and looks at every way to print and encode it, and at what NewEndpoint says
// of it.
func TestEveryFieldShownOrNot(t *testing.T) {
	const text = "zebra-crossing"
	var seen []string
	eachText(reflect.ValueOf(new(EndpointConfig)).Elem(), "", func(path string, _ func(string)) {
		seen = append(seen, path)
		may, known := textFields[path]
		require.True(t, known, "%s: is it a secret?", path)

		var c EndpointConfig
		eachText(reflect.ValueOf(&c).Elem(), "", func(p string, set func(string)) {
			switch {
			case p != path:
			case path == "URL":
				set("http://user:" + text + "@127.0.0.1/?" + text)
			default:
				set(text)
			}
		})
		b, err := json.Marshal(c)
		require.NoError(t, err)
		y, err := c.MarshalYAML()
		require.NoError(t, err)
		shown := string(b) + fmt.Sprintf("%v", y)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			shown += fmt.Sprintf(verb, c) + fmt.Sprintf(verb, &c)
		}
		assert.Equal(t, may, strings.Contains(shown, text), "%s: %s", path, shown)

		url := "http://127.0.0.1/"
		if c.URL != "" {
			url = c.URL
		}
		c.Logger = silent()
		e, err := NewEndpoint("hook", url, c)
		said := fmt.Sprintf("%v %+v %#v", err, err, err)
		if err == nil {
			said = fmt.Sprintf("%v %+v %#v %s", e, e, e, publishedEndpoints(t))
			defer e.Close(t.Context())
		}
		if !may {
			assert.NotContains(t, said, text, path)
		}
	})
	for path := range textFields {
		assert.True(t, slices.Contains(seen, path), "%s: there is no such field any more", path)
	}
}
