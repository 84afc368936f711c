package middleware

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// document decodes what the server's YAML decoder has made of the options: maps, lists
// and scalars. It is strict, and says of everything that is wrong by which path it is
// found; encoding/json would know neither the path of a key that it does not know, nor
// what came from the environment.
type document struct {
	elsewhere []string // what came from the environment and from files
}

// decode sets the struct that to points to. Its fields are called as their yaml tags say.
// What is not in the YAML, or null there, stays as it is. Further keys that path may have,
// and that somebody else decodes, are for the error only.
func (d *document) decode(path string, from, to any, further ...string) error {
	v := reflect.ValueOf(from)
	if !v.IsValid() {
		return nil
	}
	return d.setStruct(path, v, reflect.ValueOf(to).Elem(), further)
}

func (d *document) set(path string, from, to reflect.Value) error {
	if from.Kind() == reflect.Interface {
		from = from.Elem()
	}
	if !from.IsValid() {
		return nil
	}
	switch to.Kind() {
	case reflect.Struct:
		return d.setStruct(path, from, to, nil)
	case reflect.Map:
		return d.setMap(path, from, to)
	case reflect.Slice:
		return d.setList(path, from, to)
	}

	s, err := d.scalar(path, from)
	if err != nil {
		return err
	}
	switch kind := to.Kind(); {
	case to.Type() == reflect.TypeFor[time.Duration]():
		return s.setDuration(to)
	case kind == reflect.String:
		return s.setText(to)
	case kind == reflect.Bool:
		return s.setBool(to)
	case kind == reflect.Int || kind == reflect.Int64:
		return s.setNumber(to)
	}
	return wrong(path, "no YAML can be read into a %v", to.Type())
}

func (d *document) setStruct(path string, from, to reflect.Value, further []string) error {
	if from.Kind() != reflect.Map {
		return wrong(path, "%s: allowed is a map", kindOf(from))
	}
	fields := make(map[string]int)
	for i := range to.NumField() {
		if name := optionName(to.Type().Field(i)); name != "" {
			fields[name] = i
		}
	}
	for _, entry := range entries(from) {
		i, ok := fields[entry.name]
		if !ok {
			known := append(slices.Collect(maps.Keys(fields)), further...)
			slices.Sort(known)
			return wrong(path+"."+entry.name, "there is no such option: allowed are %s", strings.Join(known, ", "))
		}
		if err := d.set(path+"."+entry.name, entry.value, to.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// optionName is what a field is called in YAML, or "" if it is not to be found there.
func optionName(f reflect.StructField) string {
	if !f.IsExported() {
		return ""
	}
	switch name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name {
	case "":
		return strings.ToLower(f.Name)
	case "-":
		return ""
	default:
		return name
	}
}

func (d *document) setMap(path string, from, to reflect.Value) error {
	if from.Kind() != reflect.Map {
		return wrong(path, "%s: allowed is a map", kindOf(from))
	}
	m := reflect.MakeMap(to.Type())
	for _, entry := range entries(from) {
		v := reflect.New(to.Type().Elem()).Elem()
		if err := d.set(path+"."+entry.name, entry.value, v); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(entry.name).Convert(to.Type().Key()), v)
	}
	to.Set(m)
	return nil
}

func (d *document) setList(path string, from, to reflect.Value) error {
	if from.Kind() != reflect.Slice && from.Kind() != reflect.Array {
		return wrong(path, "%s: allowed is a list", kindOf(from))
	}
	list := reflect.MakeSlice(to.Type(), from.Len(), from.Len())
	for i := range from.Len() {
		if err := d.set(fmt.Sprintf("%s[%d]", path, i), from.Index(i), list.Index(i)); err != nil {
			return err
		}
	}
	to.Set(list)
	return nil
}

type entry struct {
	name  string
	value reflect.Value
}

// entries are those of a map, whose keys may be of any type, in the order of their names:
// of several errors it is always the same that is told.
func entries(m reflect.Value) (all []entry) {
	for e := m.MapRange(); e.Next(); {
		all = append(all, entry{fmt.Sprint(e.Key()), e.Value()})
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return all
}

// scalar is a value without parts.
type scalar struct {
	path      string
	from      reflect.Value
	text      string // as it stands in the YAML, with what it refers to
	reference bool   // it refers to something
}

func (d *document) scalar(path string, from reflect.Value) (s scalar, err error) {
	s = scalar{path: path, from: from, text: fmt.Sprint(from)}
	if from.Kind() != reflect.String {
		return s, nil
	}
	expanded, values, err := expand(s.text)
	if err != nil {
		return s, &optionError{path, err}
	}
	if s.reference = len(values) > 0; s.reference {
		d.elsewhere = append(append(d.elsewhere, values...), expanded)
	}
	s.text = expanded
	return s, nil
}

// unquoted says whether the text is what YAML would take for a number or a boolean. What
// came from elsewhere is always text, and becomes what the option wants.
func (s scalar) unquoted() bool { return s.reference || s.from.Kind() != reflect.String }

// wrong shows the value. It is not used where text is wanted, which may be a secret.
func (s scalar) wrong(allowed string) error {
	switch {
	case hasParts(s.from.Kind()):
		return wrong(s.path, "%s: allowed is %s", kindOf(s.from), allowed)
	case s.from.Kind() == reflect.String:
		return wrong(s.path, "%.*q: allowed is %s", mostShown, s.text, allowed)
	}
	return wrong(s.path, "%s: allowed is %s", cut(s.text), allowed)
}

func (s scalar) setText(to reflect.Value) error {
	if s.from.Kind() != reflect.String {
		return wrong(s.path, "%s: allowed is text, in quotes where it looks like something else", kindOf(s.from))
	}
	to.SetString(s.text)
	return nil
}

func (s scalar) setBool(to reflect.Value) error {
	b := s.text == "true"
	if !s.unquoted() || !b && s.text != "false" {
		return s.wrong("true or false")
	}
	to.SetBool(b)
	return nil
}

// setNumber also takes a size with its unit, for an option whose name ends in bytes. By
// its name it is known in structs of anybody's.
func (s scalar) setNumber(to reflect.Value) error {
	if strings.HasSuffix(s.path, "bytes") {
		n, ok := parseSize(s.text)
		if !ok || hasParts(s.from.Kind()) || to.OverflowInt(n) {
			return s.wrong(allowedSize)
		}
		to.SetInt(n)
		return nil
	}
	n, err := strconv.ParseInt(s.text, 10, to.Type().Bits())
	if err != nil || !s.unquoted() {
		return s.wrong("a whole number")
	}
	to.SetInt(n)
	return nil
}

// setDuration takes no bare number: it would mean nanoseconds, and nobody ever meant
// these.
func (s scalar) setDuration(to reflect.Value) error {
	v, err := time.ParseDuration(s.text)
	if err != nil || s.from.Kind() != reflect.String {
		return s.wrong(`text with a unit, as "500ms" or "1m30s"`)
	}
	to.SetInt(int64(v))
	return nil
}

func hasParts(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Bool:
		return false
	}
	return k < reflect.Int || k > reflect.Float64
}

// kindOf says what a value is, in the words of YAML, and nothing of what is in it.
func kindOf(v reflect.Value) string {
	switch k := v.Kind(); {
	case k == reflect.String:
		return "text"
	case k == reflect.Bool:
		return "a boolean"
	case k == reflect.Map:
		return "a map"
	case k == reflect.Slice || k == reflect.Array:
		return "a list"
	case hasParts(k):
		// A program wrote it. A struct that encodes itself leaves out its secrets.
		return fmt.Sprintf("a %v", v.Type())
	}
	return "a number"
}
