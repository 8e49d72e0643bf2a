package httpapi

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

var (
	problemType   = reflect.TypeFor[problem]()
	decidedType   = reflect.TypeFor[decided]()
	undecidedType = reflect.TypeFor[undecided]()
)

// outcomes are the refusals that an outcome of an aggregate can be: what its domain declares, and what
// the engine fails with.
func outcomes(a *processing.Aggregate) refusals {
	by := refusals{}
	by.add(refusalStatus[processing.VersionConflict], processing.ErrVersionConflict.Code)
	for _, r := range a.Refusals {
		by.add(refusalStatus[r.Kind], r.Code)
	}
	for code, status := range failureStatus {
		by.add(status, code)
	}
	return by
}

// describePost describes the way in of one command.
func describePost(a *processing.Aggregate, t processing.Type) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		body, definition, err := d.avroType(t, true)
		if err != nil {
			return nil, err
		}
		about, _ := definition["description"].(string)
		_, required := definition["required"]
		applied := &huma.Header{Description: "What of Prefer was granted.", Schema: anyText()}
		operation := &huma.Operation{
			OperationID: a.Collection + "." + processing.KebabCase(t.Name), Tags: []string{a.Collection},
			Summary: t.Name, Description: about,
			Parameters: d.commandParameters(),
			RequestBody: &huma.RequestBody{
				Description: "The command's fields.", Required: required,
				Content: map[string]*huma.MediaType{"application/json": {Schema: body}},
			},
			Responses: map[string]*huma.Response{
				"201": answered("Accepted: its events are appended. Sent again with its key, it gets this answer again.", d.goType(decidedType), map[string]*huma.Header{
					"ETag": etagHeader(), "Ledgerline-Position": positionHeader(), "Preference-Applied": applied,
				}),
				"202": answered("Appended, and not decided in time: Location has the decision once there is one.", d.goType(undecidedType), map[string]*huma.Header{
					"Location": {Description: "Where to ask.", Schema: &huma.Schema{Type: huma.TypeString, Format: "uri-reference"}}, "Preference-Applied": applied,
				}),
			},
		}
		by := outcomes(a)
		by.add(http.StatusBadRequest, "invalid-id", "invalid-idempotency-key", "invalid-precondition", processing.CodeInvalidCommand)
		by.add(http.StatusConflict, "in-progress")
		by.add(http.StatusRequestEntityTooLarge, "too-large")
		by.add(http.StatusUnsupportedMediaType, "unsupported-media-type")
		by.add(http.StatusUnprocessableEntity, "not-an-integer")
		by.add(http.StatusServiceUnavailable, "unconfirmed", "backlog-full", "unavailable")
		// The commands of an aggregate are refused alike.
		for status, codes := range by {
			number := strconv.Itoa(status)
			name := a.Collection + "." + number
			problem := d.problem(status, codes)
			problem.Headers["Preference-Applied"] = applied
			d.api.Components.Responses[name] = problem
			operation.Responses[number] = &huma.Response{Ref: "#/components/responses/" + name}
		}
		return operation, nil
	}
}

func (d *document) commandParameters() []*huma.Param {
	key := anyText()
	key.MinLength = new(1)
	return []*huma.Param{
		d.id(),
		d.parameter("Idempotency-Key", "header",
			"Names the command: sent again with the same key it is not decided again. Quoted or bare, up to 255 bytes; a UUID is the command id itself. Without one the server makes an id.", key),
		d.parameter("If-Match", "header", "The version that the aggregate must have, quoted, or the ETag of its document. Not together with If-None-Match.", matching(versionTag.String())),
		d.parameter("If-None-Match", "header", "The aggregate must not exist.", &huma.Schema{Type: huma.TypeString, Enum: []any{"*"}}),
		d.parameter("Prefer", "header", "How long to wait for the decision: wait=5 is up to five seconds, respond-async as short as can be (RFC 7240).", anyText()),
		d.parameter("traceparent", "header", "W3C Trace Context; kept with the events.", matching(traceParentForm.String())),
	}
}

// describeDecision describes where a command's decision is asked for.
func describeDecision(a *processing.Aggregate) func(*document) (*huma.Operation, error) {
	return func(d *document) (*huma.Operation, error) {
		operation := &huma.Operation{
			OperationID: "get-" + a.Collection + ".command", Tags: []string{a.Collection}, Summary: "The decision on a command",
			Description: "Answers as the POST of the command would have, with 200 for 201.",
			Parameters: []*huma.Param{d.id(), d.parameter("command_id", "path", "The command's id, or the UUID that was its key.",
				&huma.Schema{Type: huma.TypeString, Format: "uuid"}),
				d.parameter("since", "query", "When the command was sent, or before: Location has it. Without one it is the time in the id, or an hour ago.",
					&huma.Schema{Type: huma.TypeString, Format: "date-time"})},
			Responses: map[string]*huma.Response{
				"200": answered("Accepted: its events are appended.", d.goType(decidedType), map[string]*huma.Header{
					"ETag": etagHeader(), "Ledgerline-Position": positionHeader(),
				}),
			},
		}
		by := outcomes(a)
		by.add(http.StatusBadRequest, "invalid-id", "invalid-command-id", "invalid-parameter")
		by.add(http.StatusNotFound, "not-decided-or-unknown")
		by.add(http.StatusServiceUnavailable, "unavailable")
		d.refuse(operation, by)
		operation.Responses["404"].Headers["Retry-After"] = retryHeader()
		return operation, nil
	}
}
