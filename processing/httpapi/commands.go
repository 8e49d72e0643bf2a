package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/ledgerline/ledgerline/processing"
)

// ErrFractional is wrapped by what DecodeJSON returns for a number with a fraction or an exponent
// where a whole one is wanted: money is never a float. It is answered with 422.
var ErrFractional = errors.New("want a whole number")

// CommandsConfig says whose commands are taken and where they go.
type CommandsConfig struct {
	// Aggregates are those whose commands are taken. Required.
	Aggregates []*processing.Aggregate
	// Sender gets commands decided. Required.
	Sender processing.Sender
	// DecodeJSON reads a body into a value of the command type t. A *processing.FieldError is answered
	// with 400 that names the field, an error that wraps ErrFractional with 422, any other with 400.
	// Required.
	DecodeJSON func(aggregate *processing.Aggregate, t processing.Type, body []byte) (any, error)
	// Name is the service's, JSONSchema describes the commands, both for /openapi.json. Default to
	// "ledgerline" and to commands that are told of as any object.
	Name       string
	JSONSchema JSONSchema
	// Wait is the longest that a request may wait for its outcome, and how long it does unless it
	// prefers less. Defaults to 10 s.
	Wait time.Duration
	// Log takes what goes wrong behind the answers. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics count requests. Defaults to nobody.
	Metrics *Metrics
	// Tracer makes a span for each request. Defaults to none: a traceparent that comes is handed on.
	Tracer trace.Tracer
}

// Commands answers POST /v1/{collection}/{id}/{command} and GET /v1/{collection}/{id}/commands/{command_id},
// and describes them at GET /openapi.json.
type Commands struct {
	config   CommandsConfig
	observer *observer
	log      *slog.Logger
	often    *slog.Logger // takes what would be said again and again
}

// NewCommands checks config. It fails if something required is missing, two commands have one path or
// one cannot be described.
func NewCommands(config CommandsConfig) (*Commands, error) {
	if len(config.Aggregates) == 0 || config.Sender == nil || config.DecodeJSON == nil {
		return nil, errors.New("configuring HTTP commands: Aggregates, Sender and DecodeJSON are required")
	}
	collections := map[string]bool{}
	for _, a := range config.Aggregates {
		if err := processing.ValidateID("collection", a.Collection); err != nil {
			return nil, fmt.Errorf("configuring HTTP commands of %s: %w", a.Name, err)
		}
		if collections[a.Collection] {
			return nil, fmt.Errorf("configuring HTTP commands of %s: collection %s belongs to another aggregate: rename one", a.Name, a.Collection)
		}
		collections[a.Collection] = true
	}
	if config.Wait == 0 {
		config.Wait = 10 * time.Second
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	c := &Commands{config: config, observer: newObserver(config.Metrics, config.Tracer), log: config.Log, often: processing.Sparing(config.Log)}
	if _, err := describe([]part{c.part()}); err != nil {
		return nil, fmt.Errorf("configuring HTTP commands: %w", err)
	}
	return c, nil
}

// Register adds the paths of commands to mux. Queries may be registered on the same mux; /openapi.json
// then describes both.
func (c *Commands) Register(mux *http.ServeMux) { register(mux, c.log, c.observer, c.part()) }

func (c *Commands) part() part {
	p := part{name: c.config.Name, schema: c.config.JSONSchema}
	for _, a := range c.config.Aggregates {
		document := root + a.Collection + "/{id}"
		for _, t := range a.Commands {
			p.routes = append(p.routes, route{http.MethodPost, document + "/" + processing.KebabCase(t.Name), c.post(a, t), describePost(a, t)})
		}
		p.routes = append(p.routes,
			route{http.MethodPost, document + unknownCommand, c.unknown(a), nil},
			route{http.MethodGet, document + "/commands/{command_id}", c.decision(a), describeDecision(a)},
		)
	}
	return p
}

func (c *Commands) unknown(a *processing.Aggregate) func(http.ResponseWriter, *http.Request) error {
	names := make([]string, len(a.Commands))
	for i, t := range a.Commands {
		names[i] = processing.KebabCase(t.Name)
	}
	return func(_ http.ResponseWriter, r *http.Request) error {
		return refuse(http.StatusNotFound, "unknown-command", "%s has no command %q; it has %s", a.Name, r.PathValue("command"), strings.Join(names, ", "))
	}
}

// post takes one command and answers with its outcome, or with 202 if it is not decided in time.
func (c *Commands) post(a *processing.Aggregate, t processing.Type) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		request, err := c.request(w, r, a, t)
		if err != nil {
			return err
		}
		preference := preferred(r.Header, c.config.Wait)
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), preference.wait)
		defer cancel()
		outcome, err := c.config.Sender.Send(ctx, request)
		if applied := preference.applied(errors.Is(err, processing.ErrUndecided)); applied != "" {
			w.Header().Set("Preference-Applied", applied)
		}
		switch {
		case errors.Is(err, processing.ErrUndecided):
			w.Header().Set("Location", root+a.Collection+"/"+url.PathEscape(request.AggregateID)+"/commands/"+request.ID+
				"?since="+began.UTC().Format(time.RFC3339))
			return writeJSON(w, c.log, http.StatusAccepted, undecided{CommandID: request.ID, Status: "undecided"})
		case err != nil:
			return c.sendProblem(r, request, err)
		}
		return answer(w, c.log, a, outcome, http.StatusCreated)
	}
}

// undecided is the body of 202.
type undecided struct {
	CommandID string `json:"command_id"`
	Status    string `json:"status"`
}

// request reads everything that a request says about a command.
func (c *Commands) request(w http.ResponseWriter, r *http.Request, a *processing.Aggregate, t processing.Type) (processing.Request, error) {
	none := processing.Request{}
	id := r.PathValue("id")
	if err := processing.ValidateID("id", id); err != nil {
		return none, malformed("invalid-id", err)
	}
	commandID, err := commandID(r.Header)
	if err != nil {
		return none, err
	}
	expected, err := expectedVersion(r.Header)
	if err != nil {
		return none, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return none, err
	}
	data, err := c.config.DecodeJSON(a, t, body)
	if err != nil {
		return none, bodyProblem(err)
	}
	if v, ok := data.(processing.Validator); ok {
		if err := v.Validate(); err != nil {
			return none, malformed(processing.CodeInvalidCommand, err)
		}
	}
	return processing.Request{
		Aggregate: a, AggregateID: id, Type: t, Data: data, ID: commandID, Expected: expected, TraceParent: processing.TraceParent(r.Context()),
	}, nil
}

func bodyProblem(err error) *problem {
	p := malformed(processing.CodeInvalidCommand, err)
	if errors.Is(err, ErrFractional) {
		field := p.Field
		p = refuse(http.StatusUnprocessableEntity, "not-an-integer", "%v", err)
		p.Field = field
	}
	return p
}

// sendProblem says what an error of Send means for the one who asked. What is not known to be harmless
// is unconfirmed: the command may have been appended.
func (c *Commands) sendProblem(r *http.Request, request processing.Request, err error) *problem {
	var p *problem
	switch {
	case errors.Is(err, processing.ErrInProgress):
		p = refuse(http.StatusConflict, "in-progress", "a command of this id is being decided: ask again for its outcome")
	case errors.Is(err, processing.ErrBacklogFull):
		p = refuse(http.StatusServiceUnavailable, "backlog-full", "too many commands wait to be decided; this one was not taken")
	default:
		if !errors.Is(err, processing.ErrUnconfirmed) && r.Context().Err() == nil {
			c.often.ErrorContext(r.Context(), "sending command failed", "aggregate", request.Aggregate.Name, "err", err)
		}
		p = refuse(http.StatusServiceUnavailable, "unconfirmed", "nobody knows whether the command was taken: retry with this key, Idempotency-Key: %s", request.ID)
	}
	return p.of(request.ID)
}

// decision answers as the POST of a command would have, but with 200 for 201.
func (c *Commands) decision(a *processing.Aggregate) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := r.PathValue("id")
		if err := processing.ValidateID("id", id); err != nil {
			return malformed("invalid-id", err)
		}
		commandID, ok := parseUUID(r.PathValue("command_id"))
		if !ok {
			return refuse(http.StatusBadRequest, "invalid-command-id", "want a UUID, got %q", r.PathValue("command_id"))
		}
		var since time.Time
		if text := r.URL.Query().Get("since"); text != "" {
			var err error
			if since, err = time.Parse(time.RFC3339, text); err != nil {
				return malformed("invalid-parameter", &processing.FieldError{Field: "since", Reason: fmt.Sprintf("want a time like 2026-01-31T12:00:00Z, got %q", text)})
			}
		}
		outcome, err := c.config.Sender.Decision(r.Context(), a.Name, id, commandID, since)
		switch {
		case errors.Is(err, processing.ErrUndecided):
			return refuse(http.StatusNotFound, "not-decided-or-unknown", "there is no decision on this command yet").
				of(commandID).with("Retry-After", "1")
		case err != nil:
			return fmt.Errorf("reading decision on %s of %s: %w", commandID, a.Name, err)
		}
		return answer(w, c.log, a, outcome, http.StatusOK)
	}
}
