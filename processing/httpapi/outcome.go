package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/ledgerline/ledgerline/processing"
)

// refusalStatus is the status of a refusal of each kind.
var refusalStatus = map[processing.RefusalKind]int{
	processing.Conflict:        http.StatusConflict,
	processing.NotFound:        http.StatusNotFound,
	processing.Unprocessable:   http.StatusUnprocessableEntity,
	processing.VersionConflict: http.StatusPreconditionFailed,
}

// failureStatus is the status of a command that could not be decided, by code; 500 for others. 503
// is for those that may well be decided when sent again.
var failureStatus = map[string]int{
	processing.CodeInvalidCommand:      http.StatusBadRequest,
	processing.CodeInvalidAggregateID:  http.StatusBadRequest,
	processing.CodeTooLarge:            http.StatusRequestEntityTooLarge,
	processing.CodeKeyReused:           http.StatusUnprocessableEntity,
	processing.CodeTooOld:              http.StatusUnprocessableEntity,
	processing.CodeFromTheFuture:       http.StatusUnprocessableEntity,
	processing.CodeUnreadable:          http.StatusInternalServerError,
	processing.CodeDecideFailed:        http.StatusInternalServerError,
	processing.CodeUndecodable:         http.StatusInternalServerError,
	processing.CodeUnknownCommandType:  http.StatusInternalServerError,
	processing.CodeMisplaced:           http.StatusInternalServerError,
	processing.CodeDedupeFull:          http.StatusServiceUnavailable,
	processing.CodeOutcomeNotAvailable: http.StatusServiceUnavailable,
}

// decided is the body of an accepted command's answer.
type decided struct {
	CommandID string                `json:"command_id"`
	Aggregate string                `json:"aggregate"`
	ID        string                `json:"id"`
	Version   int64                 `json:"version"`
	Events    []processing.EventRef `json:"events" nullable:"false"`
}

// answer shows an outcome: success is the status of an accepted one.
func answer(w http.ResponseWriter, log *slog.Logger, a *processing.Aggregate, o processing.Outcome, success int) error {
	switch o.Status {
	case processing.Accepted:
	case processing.Refused:
		return refusal(a, o)
	default:
		status, ok := failureStatus[o.Code]
		if !ok {
			status = http.StatusInternalServerError
		}
		return refuse(status, o.Code, "%s", o.Detail).of(o.CommandID)
	}
	if o.Version > 0 {
		w.Header().Set("ETag", etag(o.Version))
	}
	if position, ok := o.Position(); ok {
		w.Header().Set("Ledgerline-Position", position.String())
	}
	body := decided{CommandID: o.CommandID, Aggregate: o.Aggregate, ID: o.AggregateID, Version: o.Version, Events: o.Events}
	if body.Events == nil {
		body.Events = []processing.EventRef{}
	}
	return writeJSON(w, log, success, body)
}

// refusal shows the domain's no. A version conflict tells the current version; an aggregate that does
// not exist has none.
func refusal(a *processing.Aggregate, o processing.Outcome) *problem {
	kind := a.RefusalKind(o.Code)
	p := refuse(refusalStatus[kind], o.Code, "%s", o.Detail).of(o.CommandID)
	if kind == processing.VersionConflict && o.Version > 0 {
		return p.with("ETag", etag(o.Version))
	}
	return p
}
