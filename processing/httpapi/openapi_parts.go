package httpapi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

// idPattern is what processing.ValidateID takes.
const idPattern = "^[!-.0-z|~]+$"

func anyText() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

func matching(pattern string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern}
}

// parameter shares a parameter between operations. One in a path is required.
func (d *document) parameter(name, in, about string, schema *huma.Schema) *huma.Param {
	d.api.Components.Parameters[name] = &huma.Param{Name: name, In: in, Description: about, Required: in == "path", Schema: schema}
	return &huma.Param{Ref: "#/components/parameters/" + name}
}

func (d *document) id() *huma.Param {
	schema := matching(idPattern)
	schema.MinLength, schema.MaxLength = new(1), new(processing.MaxIDLength)
	return d.parameter("id", "path", "Printable ASCII without space, '/', '{' and '}'.", schema)
}

func (d *document) limit() *huma.Param {
	return d.parameter("limit", "query", "The most items of a page.",
		&huma.Schema{Type: huma.TypeInteger, Minimum: new(1.0), Maximum: new(float64(maxLimit)), Default: defaultLimit})
}

func (d *document) cursor() *huma.Param {
	return d.parameter("cursor", "query", "The next of the page before, as it was. Absent for the first page.", anyText())
}

func (d *document) position() *huma.Param {
	return d.parameter("Ledgerline-Position", "header",
		"The query waits until it can show the effects of these commands: positions from their answers, separated by commas.", anyText())
}

func etagHeader() *huma.Header {
	return &huma.Header{Description: "The version, quoted.", Schema: matching(`^"[1-9][0-9]*"$`)}
}

// shownHeader describes the ETag of a document of m.
func shownHeader(m *processing.ReadModel) *huma.Header {
	if !m.KeyedAsEvents {
		return &huma.Header{Description: "A hash of the body, quoted.", Schema: matching(`^"[0-9a-f]{16}"$`)}
	}
	return &huma.Header{
		Description: "The version and a hash of the body, quoted. If-Match of a command takes it as it is.", Schema: matching(`^"[1-9][0-9]*-[0-9a-f]{16}"$`),
	}
}

func positionHeader() *huma.Header {
	return &huma.Header{
		Description: "Send it with a query that is to show what this command did. Only answers that name events have one.",
		Schema:      matching("^[^/]+/[0-9]+@[0-9]+$"),
	}
}

func retryHeader() *huma.Header {
	return &huma.Header{Description: "Seconds until it is worth trying again.", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: new(0.0)}}
}

// answered is an answer with a JSON body.
func answered(about string, schema *huma.Schema, headers map[string]*huma.Header) *huma.Response {
	return &huma.Response{Description: about, Headers: headers, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// problems says what each status of a problem means.
var problems = map[int]string{
	http.StatusBadRequest:            "The request is malformed; field names the field, parameter or header, if it is one.",
	http.StatusNotFound:              "It does not exist, as far as this answer can know.",
	http.StatusConflict:              "Refused: the command does not fit the aggregate's state. Or one of this id is in progress.",
	http.StatusGone:                  "The generation that the cursor reads is gone: start again without a cursor.",
	http.StatusPreconditionFailed:    "Refused: the aggregate has another version than expected. ETag has the current one, if it exists.",
	http.StatusRequestEntityTooLarge: "The body is longer than " + strconv.Itoa(maxBody) + " bytes.",
	http.StatusUnsupportedMediaType:  "The body is not application/json.",
	http.StatusUnprocessableEntity:   "Refused: the command makes no sense whatever the state. Or its id cannot be used.",
	http.StatusInternalServerError:   "The command was not decided, and sending it again will not help.",
	http.StatusServiceUnavailable:    "Something behind this service is missing or late: try again, a command with the same key.",
}

// refusals maps a status to the codes of its problems.
type refusals map[int][]string

func (r refusals) add(status int, codes ...string) {
	r[status] = append(r[status], codes...)
}

// problem describes the problems of a status. Codes of 500 are only examples: a newer worker has others.
func (d *document) problem(status int, codes []string) *huma.Response {
	code := anyText()
	slices.Sort(codes)
	for _, c := range slices.Compact(codes) {
		code.Enum = append(code.Enum, c)
	}
	if status == http.StatusInternalServerError {
		code.Enum, code.Examples = nil, code.Enum
	}
	r := &huma.Response{Description: problems[status], Headers: map[string]*huma.Header{}}
	switch status {
	case http.StatusServiceUnavailable:
		r.Headers["Retry-After"] = retryHeader()
	case http.StatusPreconditionFailed:
		r.Headers["ETag"] = etagHeader()
	}
	r.Content = map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{AllOf: []*huma.Schema{
		d.goType(problemType), {Type: huma.TypeObject, Properties: map[string]*huma.Schema{"code": code}},
	}}}}
	return r
}

// refuse adds the problems to an operation.
func (d *document) refuse(operation *huma.Operation, by refusals) {
	for _, status := range slices.Sorted(maps.Keys(by)) {
		operation.Responses[strconv.Itoa(status)] = d.problem(status, by[status])
	}
}
