package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/ledgerline/ledgerline/processing"
)

// problem is an answer that is not a success (RFC 9457). Handlers return it as their error.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is what callers branch on; Detail is for people.
	Code   string `json:"code" doc:"What callers branch on."`
	Detail string `json:"detail,omitempty" doc:"For people; it may change."`
	// Field names the field, parameter or header that is wrong.
	Field     string `json:"field,omitempty" doc:"The field, parameter or header that is wrong, a dotted path."`
	CommandID string `json:"command_id,omitempty"`

	headers http.Header
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// refuse makes a problem. Every 503 says when to try again.
func refuse(status int, code, format string, args ...any) *problem {
	p := &problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: code, Detail: fmt.Sprintf(format, args...), headers: http.Header{},
	}
	if status == http.StatusServiceUnavailable {
		return p.with("Retry-After", "1")
	}
	return p
}

// malformed is a 400 that names the field if err does.
func malformed(code string, err error) *problem {
	p := refuse(http.StatusBadRequest, code, "%v", err)
	if field, ok := errors.AsType[*processing.FieldError](err); ok {
		p.Field = field.Field
	}
	return p
}

func (p *problem) with(header, value string) *problem {
	p.headers.Set(header, value)
	return p
}

func (p *problem) of(commandID string) *problem {
	p.CommandID = commandID
	return p
}

// handler answers with the problem that f returns. Any other error is a dependency that failed: it is
// logged, unless the client has gone, and told as 503 without its text.
func handler(log *slog.Logger, f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		p, ok := errors.AsType[*problem](err)
		if !ok {
			if r.Context().Err() == nil {
				log.ErrorContext(r.Context(), "request failed", "err", err)
			}
			p = refuse(http.StatusServiceUnavailable, "unavailable", "a service behind this one does not answer")
		}
		writeProblem(w, log, p)
	})
}

// writeProblem is the only place where problems are written.
func writeProblem(w http.ResponseWriter, log *slog.Logger, p *problem) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	text, err := encode(p)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	write(w, log, p.Status, "application/problem+json", text)
}

// writeJSON answers with body, or returns an error before anything is written.
func writeJSON(w http.ResponseWriter, log *slog.Logger, status int, body any) error {
	text, err := encode(body)
	if err != nil {
		return err
	}
	write(w, log, status, "application/json", text)
	return nil
}

// encode returns v as JSON with a newline.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding answer: %w", err)
	}
	return b.Bytes(), nil
}

// cacheControl is of all answers: they may be kept but must be asked for again, since they change with
// the log.
const cacheControl = "no-cache"

// write sends an answer.
func write(w http.ResponseWriter, log *slog.Logger, status int, contentType string, text []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", cacheControl)
	w.WriteHeader(status)
	if _, err := w.Write(text); err != nil {
		log.Debug("writing answer failed", "err", err) // the client has gone: nobody is left to tell
	}
}
