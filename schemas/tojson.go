package schemas

import (
	"encoding/json"
	"fmt"
)

// ToJSON returns a value of a bound type as plain JSON, the way FromJSON reads it: times as RFC 3339,
// bytes as base64, unions bare. Members are in alphabetical order.
func (c *Codec) ToJSON(value any) ([]byte, error) {
	b, err := c.bindingOf(value)
	if err != nil {
		return nil, err
	}
	payload, err := b.append(nil, value)
	if err != nil {
		return nil, err
	}
	var plain any
	if _, err := b.Schema.avro.Decode(payload, &plain); err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", b.Schema.FullName(), err)
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", b.Schema.FullName(), err)
	}
	return text, nil
}
