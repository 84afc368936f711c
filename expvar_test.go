package notifications

import (
	"encoding/json"
	"expvar"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func names(t *testing.T, v expvar.Var) (names []string) {
	t.Helper()
	var list []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(v.String()), &list), v.String())
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

func TestExpvarExtendsTheListThatIsThere(t *testing.T) {
	e, err := NewEndpoint("ours", "http://127.0.0.1:1/", EndpointConfig{})
	require.NoError(t, err)
	defer e.Close(t.Context())

	for there, want := range map[string][]string{
		`[{"name":"stock"}]`: {"stock", "ours"},
		`[]`:                 {"ours"},
		`null`:               {"ours"},
		`"not a list"`:       {"ours"},
		`not JSON`:           {"ours"},
	} {
		m := new(expvar.Map).Init()
		m.Set("endpoints", raw(there))
		p := &publishedEndpoints{endpoints: []*Endpoint{e}}
		p.publish(m)
		assert.Equal(t, want, names(t, m.Get("endpoints")), there)
	}
}

// raw is a variable that shows itself.
type raw string

func (r raw) String() string { return string(r) }

// wrapped is a list of somebody's who came later and extended ours.
type wrapped struct{ expvar.Var }

func TestExpvarIsExtendedByOthers(t *testing.T) {
	m := new(expvar.Map).Init()
	p := new(publishedEndpoints)
	p.publish(m)
	m.Set("endpoints", wrapped{m.Get("endpoints")})
	p.publish(m) // with the next endpoint: would go round for ever if it extended that
	assert.Equal(t, "[]", m.Get("endpoints").String())
}
