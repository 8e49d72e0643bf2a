package processing

import "fmt"

// MaxMinorUnits bounds the amount of a command: 10^13 minor units either way. So 900 of the largest
// amounts add up exactly even where sums are kept as doubles, and 900,000 in 64 bits.
const MaxMinorUnits = 10_000_000_000_000

// Money is an amount in the minor unit of its currency (pence, cents). It is never a float.
type Money struct {
	// MinorUnits is the amount; it may be negative where a domain allows it.
	MinorUnits int64 `avro:"minor_units" json:"minor_units"`
	// Currency is an ISO 4217 code: three upper-case letters.
	Currency string `avro:"currency" json:"currency" pattern:"^[A-Z]{3}$"`
}

// String writes the amount as "1250 GBP".
func (m Money) String() string { return fmt.Sprintf("%d %s", m.MinorUnits, m.Currency) }

// Validate returns a *FieldError below field if the currency is no ISO 4217 code or the amount is out of
// bounds, else nil.
func (m Money) Validate(field string) error {
	ok := len(m.Currency) == 3
	for i := 0; ok && i < 3; i++ {
		ok = m.Currency[i] >= 'A' && m.Currency[i] <= 'Z'
	}
	if !ok {
		return &FieldError{Field: field + ".currency", Reason: fmt.Sprintf("want three upper-case letters, got %q", m.Currency)}
	}
	if m.MinorUnits > MaxMinorUnits || m.MinorUnits < -MaxMinorUnits {
		return &FieldError{Field: field + ".minor_units", Reason: fmt.Sprintf("want at most %d either way, got %d", int64(MaxMinorUnits), m.MinorUnits)}
	}
	return nil
}
