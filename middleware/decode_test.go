package middleware

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// assertAllSet says that each field has a value, apart from those that are excepted.
func assertAllSet(t *testing.T, of any, except ...string) {
	t.Helper()
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && !slices.Contains(except, f.Name) {
			assert.False(t, v.Field(i).IsZero(), "%T.%s is not set", of, f.Name)
		}
	}
}

// What a configuration has can be had from YAML, under the name of the field.
func TestBlocksHaveAllOptions(t *testing.T) {
	for _, c := range []struct {
		config, block any
		programs      []string // is for programs
		ours          []string
	}{
		{notifications.HubConfig{}, memoryOptions{}, []string{"DeadLetters", "Logger"}, nil},
		{journal.Config{}, journalOptions{}, []string{"Hub", "Logger"}, []string{"Dir", "Backoff", "MaxBackoff", "Forget"}},
		{notifications.DeadLetterFileConfig{}, deadLetterOptions{}, []string{"Logger"}, []string{"File"}},
		{notifications.BridgeConfig{}, options{}, []string{"Source", "Logger"}, nil},
	} {
		fields := reflect.TypeOf(c.config)
		want := append([]string{}, c.ours...)
		for i := range fields.NumField() {
			if f := fields.Field(i); f.IsExported() && !slices.Contains(c.programs, f.Name) {
				want = append(want, f.Name)
			}
		}
		block := reflect.TypeOf(c.block)
		var have []string
		for i := range block.NumField() {
			have = append(have, block.Field(i).Name)
		}
		if block == reflect.TypeFor[options]() {
			// These have other names, and some more.
			have = append(have, "URLs", "IncludeReferences")
			assert.Subset(t, have, want)
			continue
		}
		assert.ElementsMatch(t, want, have, "%T", c.config)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "65536": 65536, "-1": -1,
		"1KiB": 1 << 10, "64MiB": 64 << 20, "10GiB": 10 << 30, "2TiB": 2 << 40, "-3KiB": -3 << 10,
		"8388607TiB": 8388607 << 40,
	} {
		got, ok := parseSize(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "KiB", "64MB", "64M", "64mib", "64 MiB", " 1", "1 ", "1.5GiB", "1e3", "0x10", "1_000", "8388608TiB", "-8388609TiB",
		"9223372036854775808", "MiB64", "1KiBKiB", "١",
	} {
		_, ok := parseSize(text)
		require.False(t, ok, text)
	}
}

type everything struct {
	Text     string
	Flag     bool
	Number   int
	Long     int64
	Bytes    int64 `yaml:"mybytes"`
	While    time.Duration
	List     []string
	Map      map[string]int
	Struct   struct{ Inner string }
	Structs  []struct{ Inner string }
	NotThere string `yaml:"-"`
	hidden   string
	Odd      uint
}

func TestDecode(t *testing.T) {
	e := everything{Text: "stays", Number: 7, hidden: "x"}
	require.NoError(t, new(document).decode("p", optionsOf(t, `
text:
flag: true
long: -5
mybytes: 2KiB
while: 3s
list: [a, "5"]
map: {a: 1, 2: 3}
struct: {inner: i}
structs: [{inner: j}, {}]
`), &e))
	require.Equal(t, everything{
		Text: "stays", Flag: true, Number: 7, Long: -5, Bytes: 2048, While: 3 * time.Second,
		List: []string{"a", "5"}, Map: map[string]int{"a": 1, "2": 3},
		Struct: struct{ Inner string }{"i"}, Structs: []struct{ Inner string }{{"j"}, {}}, hidden: "x",
	}, e)

	for yaml, want := range map[string]string{
		"notthere: x":        "p.notthere: there is no such option: allowed are flag, further, list, long, map, mybytes, number, odd, struct, structs, text, while",
		"hidden: x":          "p.hidden: there is no such option: allowed are flag, further, list, long, map, mybytes, number, odd, struct, structs, text, while",
		"odd: 5":             "p.odd: no YAML can be read into a uint",
		"map: {b: x, a: z}":  `p.map.a: "z": allowed is a whole number`,
		"structs: [{}, {a}]": "p.structs[1].a: there is no such option: allowed are inner",
		"mybytes: true":      "p.mybytes: true: allowed is " + allowedSize,
		"mybytes: [1]":       "p.mybytes: a list: allowed is " + allowedSize,
		"number: true":       "p.number: true: allowed is a whole number",
		"while: 2001-01-01":  `p.while: "2001-01-01": allowed is text with a unit, as "500ms" or "1m30s"`,
		"list: a":            "p.list: text: allowed is a list",
		"struct: [a]":        "p.struct: a list: allowed is a map",
	} {
		err := new(document).decode("p", optionsOf(t, yaml), new(everything), "further")
		require.EqualError(t, err, want)
	}
	require.NoError(t, new(document).decode("p", nil, new(everything)))
	require.EqualError(t, new(document).decode("p", "x", new(everything)), "p: text: allowed is a map")
}
