// Package reporttest compares lines with the schema doc/event.schema.json, for tests.
package reporttest

import (
	"encoding/json"
	"os"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema is the schema of a line.
type Schema struct {
	resolved *jsonschema.Resolved
}

// Load reads a schema from a file. Readers must accept unknown keys in a line; here there must be
// none.
func Load(path string) (*Schema, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	resolved, err := s.Resolve(nil)
	return &Schema{resolved}, err
}

// Check returns the error in a line, or nil.
func (s *Schema) Check(line []byte) error {
	var v any
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	return s.resolved.Validate(v)
}
