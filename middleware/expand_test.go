package middleware

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeFile(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestExpand(t *testing.T) {
	t.Setenv("A", "one")
	t.Setenv("_B2", "two")
	t.Setenv("TRICKY", "${file:/etc/passwd}${env:A}$${x")
	t.Setenv("BRACES", "}{")
	file := "${file:" + writeFile(t, "content\n") + "}"
	for text, want := range map[string]string{
		"":                         "",
		"plain $ $$ {env:A} }":     "plain $ $$ {env:A} }",
		"${env:A}":                 "one",
		"Bearer ${env:A}!":         "Bearer one!",
		"${env:A}${env:_B2}":       "onetwo",
		"$${env:A}":                "${env:A}",
		"$$${env:A}":               "$${env:A}",
		"$${${env:A}}":             "${one}",
		"a$${b$${c":                "a${b${c",
		"${env:A}$${env:A}":        "one${env:A}",
		"$${":                      "${",
		file:                       "content",
		"<" + file + "${env:A}>":   "<contentone>",
		"${env:TRICKY}":            "${file:/etc/passwd}${env:A}$${x", // and no further
		"${env:BRACES}${env:A}":    "}{one",
		"käse ${env:A} \xff\x00\n": "käse one \xff\x00\n",
	} {
		got, values, err := expand(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		require.Equal(t, strings.Count(text, "${") > strings.Count(text, "$${"), len(values) > 0, text)
	}
}

func TestExpandErrors(t *testing.T) {
	t.Setenv("A", "one")
	t.Setenv("EMPTY", "")
	const (
		refs     = "allowed are ${env:NAME} and ${file:/path}, and $${ for ${ itself"
		unclosed = "has ${ without }: " + refs
		scheme   = "has ${ with neither env: nor file: behind it: " + refs
		noName   = "has ${env: without a name: allowed are letters, digits and _, as in ${env:NAME}"
		noPath   = "has ${file: without an absolute path: allowed is one, as in ${file:/run/secrets/name}"
		fileRule = ": allowed is a file that can be read and is not empty, of at most 65536 bytes"
	)
	empty, newline := writeFile(t, ""), writeFile(t, "\n")
	large, dir := writeFile(t, strings.Repeat("x", maxFile+1)), t.TempDir()
	for text, want := range map[string]string{
		"${":                      unclosed,
		"${env:A":                 unclosed,
		"${env:A}${":              unclosed,
		"p${secret":               unclosed,
		"${}":                     scheme,
		"${A}":                    scheme,
		"${ENV:A}":                scheme,
		"${ env:A}":               scheme,
		"${secret}":               scheme,
		"${vault:secret}":         scheme,
		"${env:}":                 noName,
		"${env}":                  noName,
		"${env:A B}":              noName,
		"${env:A:-secret}":        noName,
		"${env:secret-}":          noName,
		"${env:a ${env:A}":        noName,
		"${env:2A}":               noName,
		"${env:NOT_SET}":          "${env:NOT_SET}: is empty or not set: allowed is a variable with a value",
		"${env:EMPTY}":            "${env:EMPTY}: is empty or not set: allowed is a variable with a value",
		"${file:}":                noPath,
		"${file:secret}":          noPath,
		"${file:./secret}":        noPath,
		"${file:/not/there}":      "${file:/not/there}: no such file or directory" + fileRule,
		"${file:" + empty + "}":   "${file:" + empty + "}: is empty" + fileRule,
		"${file:" + newline + "}": "${file:" + newline + "}: is empty" + fileRule,
		"${file:" + large + "}":   "${file:" + large + "}: is too large" + fileRule,
		"${file:" + dir + "}":     "${file:" + dir + "}: is a directory" + fileRule,
		"${file:/dev/zero}":       "${file:/dev/zero}: is too large" + fileRule,
	} {
		got, values, err := expand(text)
		require.EqualError(t, err, want, text)
		require.Empty(t, got)
		require.Empty(t, values)
	}
}

// One newline at the end is not the secret's; what else there is, is.
func TestFileContent(t *testing.T) {
	for content, want := range map[string]string{
		"x": "x", "x\n": "x", "x\n\n": "x\n", "x\r\n": "x", " x \n": " x ", "\nx": "\nx", "a\nb\n": "a\nb",
		"${env:A}\n":                 "${env:A}",
		strings.Repeat("y", maxFile): strings.Repeat("y", maxFile),
	} {
		got, _, err := expand("${file:" + writeFile(t, content) + "}")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// What came from elsewhere is text, and becomes what the option wants. Text that is
// written into the YAML does not.
func TestReferencesBecomeWhatIsWanted(t *testing.T) {
	t.Setenv("TRUE", "true")
	t.Setenv("FIVE", "5")
	t.Setenv("SIZE", "2KiB")
	t.Setenv("WHILE", "5s")
	var e everything
	require.NoError(t, new(document).decode("p", optionsOf(t, `
text: ${env:TRUE}
flag: ${env:TRUE}
number: ${env:FIVE}
long: ${env:FIVE}${env:FIVE}
mybytes: ${env:SIZE}
while: 1m${env:WHILE}
list: ["${env:FIVE}"]
map: {a: "${env:FIVE}", "${env:FIVE}": 1}
`), &e))
	require.Equal(t, everything{
		Text: "true", Flag: true, Number: 5, Long: 55, Bytes: 2048, While: 65e9,
		List: []string{"5"}, Map: map[string]int{"a": 5, "${env:FIVE}": 1}, // a key is none
	}, e)
}

// The server's own decoder has a way with variables, too. A value that came in by it may
// refer on, and a variable of our own is none of its business.
func TestVariablesOfTheServer(t *testing.T) {
	t.Setenv("REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_ADDR", "${env:OWN}")
	t.Setenv("REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_MEMORY_MAXPENDING", "7")
	t.Setenv("REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_EVENTS", "{includereferences: true}")
	t.Setenv("REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_ENDPOINTS", `[{name: a, url: "http://127.0.0.1:1/"}]`)
	t.Setenv("REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_DEADLETTERS_FILE", "/is/ignored") // the block is there
	t.Setenv("OWN", ":5443")
	o, err := new(document).parse(optionsOf(t, "deadletters: {file: /x}\naddr: ':1'\nevents: {includereferences: false}\nurl: 'http://example.org/$${env:OWN}'"))
	require.NoError(t, err)
	require.Equal(t, ":5443", o.Addr)
	require.Equal(t, "http://example.org/${env:OWN}", o.URL)
	require.True(t, o.Events.IncludeReferences)
	require.Equal(t, "/x", o.DeadLetters.File)
	require.Equal(t, []string{"a"}, o.enabled())
	var memory memoryOptions
	require.NoError(t, new(document).decode("p", o.hubBlock, &memory))
	require.Equal(t, memoryOptions{MaxPending: 7}, memory)
}

func FuzzExpand(f *testing.F) {
	f.Setenv("A", "<${env:A}>")
	for _, text := range []string{"", "x", "${env:A}", "$${env:A}", "${", "}", "$$${env:A}${", "${file:/proc/self/x}", "${x:${env:A}}", "$A}{x:${env:_}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "${file:") {
			return // who knows what there is
		}
		got, values, err := expand(text)
		switch {
		case err != nil:
			if got != "" || values != nil || !strings.Contains(text, "${") {
				t.Fatalf("%q: %q, %q, %v", text, got, values, err)
			}
		case !strings.Contains(text, "${"):
			if got != text {
				t.Fatalf("%q became %q", text, got)
			}
		}
		for _, v := range values { // of whatever variables there are
			if !strings.Contains(got, v) {
				t.Fatalf("%q became %q, with %q", text, got, values)
			}
		}
		// Doubling each dollar of a ${ keeps a text as it is.
		if safe := strings.ReplaceAll(text, "${", "$${"); !strings.Contains(text, "$${") {
			if got, values, err := expand(safe); got != text || values != nil || err != nil {
				t.Fatalf("%q became %q, %q, %v", safe, got, values, err)
			}
		}
	})
}
