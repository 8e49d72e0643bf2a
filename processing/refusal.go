package processing

import (
	"errors"
	"fmt"
)

// RefusalKind says in which way a command was refused; HTTP shows it as the status.
type RefusalKind int

const (
	// Conflict: the command does not fit the aggregate's state (HTTP 409).
	Conflict RefusalKind = iota
	// NotFound: the aggregate does not exist (HTTP 404).
	NotFound
	// Unprocessable: the command itself makes no sense (HTTP 422).
	Unprocessable
	// VersionConflict: the expected version is not the aggregate's (HTTP 412).
	VersionConflict
)

// Refusal is a domain's no: a stored decision, not a failure. A domain declares its refusals as
// package variables and returns them from Decide, with [Refusal.Because] where numbers help.
type Refusal struct {
	// Code is the stable name that callers branch on, in kebab case.
	Code string
	Kind RefusalKind
	// Detail is for people and may change.
	Detail string
}

// Refuse declares a refusal.
func Refuse(code string, kind RefusalKind) *Refusal { return &Refusal{Code: code, Kind: kind} }

// Because returns a copy of r with a detail. The copy matches r under errors.Is.
func (r *Refusal) Because(format string, args ...any) *Refusal {
	return &Refusal{Code: r.Code, Kind: r.Kind, Detail: fmt.Sprintf(format, args...)}
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Code
	}
	return r.Code + ": " + r.Detail
}

// Is reports whether target is a refusal with the same code.
func (r *Refusal) Is(target error) bool {
	var t *Refusal
	return errors.As(target, &t) && t.Code == r.Code
}

// ErrVersionConflict refuses a command whose expected version is not the aggregate's. The engine
// returns it before Decide is asked.
var ErrVersionConflict = Refuse("version-conflict", VersionConflict)
