package middleware

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/distribution/distribution/v3/configuration"
)

// documentation returns the package comment without its slashes.
func documentation(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var doc strings.Builder
	for line := range strings.Lines(string(b)) {
		line, is := strings.CutPrefix(line, "//")
		if is {
			doc.WriteString(strings.TrimPrefix(line, " "))
		}
	}
	return doc.String()
}

// The example in the documentation is one that starts.
func TestDocumentedExample(t *testing.T) {
	_, rest, ok := strings.Cut(documentation(t), "\thttp:\n")
	require.True(t, ok)
	example, _, ok := strings.Cut("http:\n"+rest, "\nThe keys of")
	require.True(t, ok)
	example = strings.ReplaceAll(example, "\n\t", "\n")
	example = strings.ReplaceAll(example, "/var/lib/registry", t.TempDir())
	example = strings.ReplaceAll(example, "/run/secrets/audit", writeFile(t, "hunter2\n"))
	t.Setenv("AUDIT_KEY", "whsec_b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xk")

	config, err := configuration.Parse(strings.NewReader("version: 0.1\nstorage: {inmemory: {}}\n" + example))
	require.NoError(t, err)
	n, err := newRegistry(t.Context(), &fakeRegistry{}, nil, config.Middleware["registry"][0].Options)
	require.NoError(t, err)
	closeNamespace(t, n)
}

// Each option is documented, under its name.
func TestEachOptionIsDocumented(t *testing.T) {
	doc := documentation(t)
	_, ofEndpoints, ok := strings.Cut(doc, "# Endpoints\n")
	require.True(t, ok)

	has := func(doc, option string) {
		t.Helper()
		require.Regexp(t, `(?m)^ *- ([a-z.]+, )*`+strings.ReplaceAll(option, ".", `\.`)+`[,:]`, doc)
	}
	own := reflect.TypeFor[options]()
	for i := range own.NumField() {
		f := own.Field(i)
		switch name := optionName(f); name {
		case "":
		case "events", "deadletters":
			for j := range f.Type.NumField() {
				has(doc, name+"."+optionName(f.Type.Field(j)))
			}
		default:
			has(doc, name)
		}
	}
	for hub, block := range map[string]reflect.Type{memoryHub: reflect.TypeFor[memoryOptions](), journalHub: reflect.TypeFor[journalOptions]()} {
		for i := range block.NumField() {
			has(doc, hub+"."+optionName(block.Field(i)))
		}
	}
	endpoint := own.Field(0).Type.Elem()
	for i := range endpoint.NumField() {
		f := endpoint.Field(i)
		switch name := optionName(f); name {
		case "":
		case "tls", "addresses":
			for j := range f.Type.NumField() {
				has(ofEndpoints, name+"."+optionName(f.Type.Field(j)))
			}
		default:
			has(ofEndpoints, name)
		}
	}
}
