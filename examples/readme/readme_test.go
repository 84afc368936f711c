package readme

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	_ "github.com/registry-notifications/notifications/middleware"
)

// root is where README.md is.
const root = "../../"

var block = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// blocks returns those of a language.
func blocks(t *testing.T, language string) (all []string) {
	readme, err := os.ReadFile(root + "README.md")
	require.NoError(t, err)
	for _, m := range block.FindAllStringSubmatch(string(readme), -1) {
		if m[1] == language {
			all = append(all, m[2])
		}
	}
	require.NotEmpty(t, all, language)
	return all
}

// given is what the programs have from elsewhere.
const given = `
var (
	repo      distribution.Repository
	remover   distribution.RepositoryRemover
	ci        *notifications.Endpoint
	hub       *notifications.Broadcaster
	auditSink notifications.Sink
	backend   *url.URL
	r         *http.Request
	body      []byte
	ctx       context.Context
	mirror    observer.Processor
	t         *testing.T
	err       error
)
`

// imports are the packages that the programs and what they are given may use.
var imports = map[string]string{
	"bytes": "bytes", "context": "context", "http": "net/http", "httputil": "net/http/httputil", "testing": "testing",
	"time": "time", "url": "net/url",
	"distribution":  "github.com/distribution/distribution/v3",
	"journal":       "github.com/registry-notifications/notifications/journal",
	"notifications": "github.com/registry-notifications/notifications",
	"observer":      "github.com/registry-notifications/notifications/observer",
	"ociregistry":   "github.com/registry-notifications/notifications/ociregistry",
	"receiver":      "github.com/registry-notifications/notifications/receiver",
	"signature":     "github.com/registry-notifications/notifications/signature",
	"sinktest":      "github.com/registry-notifications/notifications/sinktest",
}

// Each program compiles, as the body of a function.
func TestProgramsCompile(t *testing.T) {
	program, whole, functions := "package main\n", given, 0
	for _, code := range blocks(t, "go") {
		code = strings.NewReplacer("\n…\n", "\n", "{ … 401 … }", "{}").Replace(code)
		if strings.HasPrefix(code, "import ") {
			program += code
			continue
		}
		functions++
		whole += fmt.Sprintf("\nfunc _() {\n%s%s}\n", code, uses(t, code))
	}
	require.GreaterOrEqual(t, functions, 5)
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(whole) {
			program += fmt.Sprintf("import %q\n", imports[name])
		}
	}
	program += whole + "\nfunc main() {}\n"

	// The program is in a directory that only the go command sees.
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(source, []byte(program), 0o600))
	here, err := filepath.Abs("program")
	require.NoError(t, err)
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "main.go"): source}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))
	out, err := exec.Command("go", "build", "-overlay", overlay, "-o", os.DevNull, "./program").CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, program)
}

// uses returns statements that use what a program declares, which the compiler insists on.
func uses(t *testing.T, code string) (statements string) {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc _() {\n"+code+"}\n", 0)
	require.NoError(t, err, code)
	for _, s := range file.Decls[0].(*ast.FuncDecl).Body.List {
		if a, ok := s.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			for _, name := range a.Lhs {
				statements += "_ = " + name.(*ast.Ident).Name + "\n"
			}
		}
	}
	return statements
}

// Each configuration starts a stock server, which ends as it should.
func TestConfigurationStarts(t *testing.T) {
	logrus.SetOutput(io.Discard) // a stock server has much to say
	secret := filepath.Join(t.TempDir(), "ci")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2\n"), 0o600))
	for _, block := range blocks(t, "yaml") {
		block = strings.NewReplacer("/var/lib/registry", t.TempDir(), "/run/secrets/ci", secret).Replace(block)
		config, err := configuration.Parse(strings.NewReader("version: 0.1\nstorage: {inmemory: {}, maintenance: {uploadpurging: {enabled: false}}}\n" + block))
		require.NoError(t, err)
		require.NotEmpty(t, config.Middleware["registry"], block)
		require.Positive(t, config.HTTP.DrainTimeout, block)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		require.NotPanics(t, func() { require.NoError(t, handlers.NewApp(ctx, config).Shutdown()) }, block)
	}
}

// The event has the fields that are shown, under their names.
func TestEventIsOne(t *testing.T) {
	for _, block := range blocks(t, "json") {
		block = strings.NewReplacer(", …", "", "092c…", digest.FromString("").Encoded(), `"digest": "…"`, `"digest": "`+digest.FromString("").String()+`"`).Replace(block)
		envelope, err := notifications.DecodeEnvelope(notifications.MediaTypeV2, strings.NewReader(block), 0)
		require.NoError(t, err, block)
		require.Len(t, envelope.Events, 1)
		target := envelope.Events[0].Target
		assert.Equal(t, notifications.TypeManifest, target.Type)
		assert.NotEmpty(t, target.Tag)
		assert.Positive(t, target.Size)
		assert.Positive(t, target.TotalSize)
		require.Len(t, target.References, 1)
		assert.Positive(t, target.References[0].Size)
	}
}

var (
	layout   = regexp.MustCompile(`(?m)^[a-z]+(?:\.go|/).*$`)
	file     = regexp.MustCompile(`^[a-z]+(?:\.go|/)$`)
	link     = regexp.MustCompile(`\]\(([^):]+)\)`)
	relative = regexp.MustCompile(`(?:^|\s)\./([a-z/]+)`)
)

// What is named is there: in the layout, in links and in commands.
func TestFilesAreThere(t *testing.T) {
	var names []string
	for _, b := range blocks(t, "") {
		for _, line := range layout.FindAllString(b, -1) {
			for _, word := range strings.Fields(line) {
				if !file.MatchString(word) {
					break // what it is for
				}
				names = append(names, word)
			}
		}
	}
	require.Greater(t, len(names), 30)
	readme, err := os.ReadFile(root + "README.md")
	require.NoError(t, err)
	for _, of := range []*regexp.Regexp{link, relative} {
		found := of.FindAllStringSubmatch(string(readme), -1)
		require.NotEmpty(t, found, of)
		for _, m := range found {
			names = append(names, m[1])
		}
	}
	for _, name := range names {
		_, err := os.Stat(root + name)
		assert.NoError(t, err)
	}
}
