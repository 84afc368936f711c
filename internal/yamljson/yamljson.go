// Package yamljson turns what a YAML decoder made of a document into JSON, so that
// one strict decoder serves both.
package yamljson

import (
	"encoding/json"
	"fmt"
)

// Marshal returns v as JSON. Maps may have keys of any scalar type, as YAML's do.
func Marshal(v any) ([]byte, error) { return json.Marshal(convert(v)) }

func convert(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[fmt.Sprint(key)] = convert(value)
		}
		return m
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = convert(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, value := range v {
			list[i] = convert(value)
		}
		return list
	}
	return v
}
