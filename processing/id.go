package processing

import "fmt"

// MaxIDLength is the longest id in bytes.
const MaxIDLength = 128

// FieldError says which field of a command is malformed and why. Field is a dotted path.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// ValidateID returns a *FieldError if id is not an id: 1 to 128 printable ASCII characters without
// space, '/', '{' or '}'. Those three separate the parts of keys, positions and paths.
func ValidateID(field, id string) error {
	if id == "" || len(id) > MaxIDLength {
		return &FieldError{Field: field, Reason: fmt.Sprintf("want 1 to %d characters, got %d", MaxIDLength, len(id))}
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '/' || c == '{' || c == '}' {
			return &FieldError{Field: field, Reason: fmt.Sprintf("character %q is not allowed: printable ASCII without space, '/', '{', '}'", c)}
		}
	}
	return nil
}
