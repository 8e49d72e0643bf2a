package processing

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

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

// commandIDSpace is the name space of command ids derived from other strings. It never changes.
var commandIDSpace = uuid.MustParse("8f8b4c6e-6a0e-5d0c-9c52-0d1b6a3f7e11")

// MaxKeyLength is the longest string in bytes that [CommandID] takes.
const MaxKeyLength = 255

// CommandID returns the command id that an idempotency key stands for: a UUID itself, in lower case;
// of any other string of 1 to 255 bytes, a version 5 UUID.
func CommandID(key string) (string, error) {
	if key == "" || len(key) > MaxKeyLength {
		return "", fmt.Errorf("want a key of 1 to %d bytes, got %d", MaxKeyLength, len(key))
	}
	if len(key) == 36 {
		if id, err := uuid.Parse(key); err == nil {
			return id.String(), nil
		}
	}
	return uuid.NewSHA1(commandIDSpace, []byte(key)).String(), nil
}

// CommandTime returns the time in a command id, and false for an id without one.
func CommandTime(id string) (time.Time, bool) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return time.Time{}, false
	}
	ms, timed := timeOf(parsed)
	if !timed {
		return time.Time{}, false
	}
	return time.UnixMilli(ms), true
}
