package schemas

import (
	"context"
	"errors"
)

// Registry is what the codec needs of a schema registry. Errors that wrap ErrNotRegistered mean that
// what was asked for does not exist; any other means that the registry could not say.
type Registry interface {
	// SchemaByID returns the text of the schema with that id.
	SchemaByID(ctx context.Context, id int) (text string, err error)
	// SchemaID returns the id that a schema has under a subject. It looks up and never registers.
	SchemaID(ctx context.Context, subject, text string) (int, error)
}

// ErrNotRegistered means that the registry answered, and does not have the schema.
var ErrNotRegistered = errors.New("schema is not registered")
