package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/schemas"
)

// eventLog has the same coin at every place.
type eventLog struct{ fail error }

func (l *eventLog) EventsAt(_ context.Context, aggregate string, places []processing.Place) ([]processing.Event, error) {
	var events []processing.Event
	for i := range places {
		events = append(events, processing.Event{
			ID: "e-1", Aggregate: aggregate, Type: "CoinPut", Version: int64(i + 1), CommandID: someID, CorrelationID: "c-1",
			Time: time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.UTC),
		})
	}
	return events, l.fail
}

func (l *eventLog) EventJSON(processing.Event) ([]byte, error) { return []byte(`{"amount":5}`), nil }

func commandsConfig(s *sender) httpapi.CommandsConfig {
	return httpapi.CommandsConfig{
		Aggregates: []*processing.Aggregate{jar()}, Sender: s, DecodeJSON: decodeJSON, Name: "jars", JSONSchema: jarSchema,
		Log: slog.New(slog.DiscardHandler),
	}
}

// whole has queries of every kind.
func (s *site) whole(log *eventLog) httpapi.QueriesConfig {
	c := s.config()
	c.Models = append(c.Models, processing.History("jar"))
	c.Aggregates, c.Events, c.Name, c.JSONSchema = []*processing.Aggregate{jar()}, log, "jars", jarSchema
	return c
}

func newCommands(t *testing.T, c httpapi.CommandsConfig) *httpapi.Commands {
	t.Helper()
	commands, err := httpapi.NewCommands(c)
	if err != nil {
		t.Fatal(err)
	}
	return commands
}

func newQueries(t *testing.T, c httpapi.QueriesConfig) *httpapi.Queries {
	t.Helper()
	queries, err := httpapi.NewQueries(c)
	if err != nil {
		t.Fatal(err)
	}
	return queries
}

// TestDescription has commands and queries on muxes of their own and together: each describes exactly
// what it answers.
func TestDescription(t *testing.T) {
	commands, queries := newCommands(t, commandsConfig(&sender{})), newQueries(t, newSite(t).whole(&eventLog{}))
	for name, row := range map[string]struct {
		register []func(*http.ServeMux)
		want     []string
	}{
		"commands":             {[]func(*http.ServeMux){commands.Register}, commands.Patterns()},
		"queries":              {[]func(*http.ServeMux){queries.Register}, queries.Patterns()},
		"commands and queries": {[]func(*http.ServeMux){commands.Register, queries.Register}, append(commands.Patterns(), queries.Patterns()...)},
		"queries and commands": {[]func(*http.ServeMux){queries.Register, commands.Register}, append(commands.Patterns(), queries.Patterns()...)},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			for _, register := range row.register {
				register(mux)
			}
			d := described(t, mux)
			d.wantOpenAPI(t)
			var got []string
			for path, item := range object(d.tree, "paths") {
				for method := range item.(map[string]any) {
					pattern := strings.ToUpper(method) + " " + path
					got = append(got, pattern)
					if _, found := mux.Handler(httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), nil)); found != pattern {
						t.Errorf("%s is described, and %q answers there", pattern, found)
					}
				}
			}
			want := append(row.want, "GET /openapi.json")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("described %q\nregistered %q", got, want)
			}
			if len(row.register) == 2 {
				whole, err := httpapi.Describe("jars", []*processing.Aggregate{jar()}, newSite(t).whole(nil).Models, jarSchema)
				if err != nil || string(whole) != string(d.text) && name == "commands and queries" {
					t.Errorf("Describe returns something else, %v", err)
				}
			}
		})
	}
}

// TestDescribedAnswers gets every answer that is described; call compares it with the description.
func TestDescribedAnswers(t *testing.T) {
	asked, log := &sender{}, &eventLog{}
	open := func(s *site) *http.ServeMux {
		mux := http.NewServeMux()
		commands, queries := commandsConfig(asked), s.whole(log)
		commands.Name = t.Name() // a description that no other test has seen answers of
		newCommands(t, commands).Register(mux)
		newQueries(t, queries).Register(mux)
		return mux
	}
	empty := open(newSite(t))
	s := newSite(t)
	s.fill()
	mux := open(s)

	call(t, mux, "GET", "/openapi.json", "")
	answersOfCommands(t, mux, asked)
	document, sums, entries, ranked, events := "/v1/jars/%s", "/v1/owners/%s", "/v1/owners/%s/jars?", "/v1/owners?sort=-total&currency=GBP", "/v1/jars/%s/events?"
	for _, path := range []string{document, sums, entries, ranked, events} {
		of := func(id string) string { return strings.Replace(path, "%s", id, 1) }
		here := of("o-1")
		if strings.HasPrefix(path, "/v1/jars") {
			here = of("j-1")
		}
		if w := call(t, mux, "GET", here, "", "Ledgerline-Position: "); w.Code != 400 {
			t.Errorf("%s: %d", here, w.Code)
		}
		if w := call(t, mux, "GET", here, ""); w.Code != 200 {
			t.Errorf("%s: %d %s", here, w.Code, w.Body)
		}
		if w := call(t, mux, "GET", of("none"), ""); path != ranked && w.Code != 404 {
			t.Errorf("%s: %d %s", of("none"), w.Code, w.Body)
		}
		wantProblem(t, call(t, empty, "GET", here, ""), 503, "read-model-rebuilding")
	}
	for _, path := range []string{"/v1/jars/j-1", "/v1/owners/o-1"} {
		call(t, mux, "GET", path, "", "If-None-Match: *")
	}
	first := body(t, call(t, mux, "GET", "/v1/jars/j-1/events?limit=1", ""))
	second := body(t, call(t, mux, "GET", "/v1/jars/j-1/events?after="+first["next"].(string), ""))
	if len(second["items"].([]any)) != 1 || second["next"] != nil {
		t.Errorf("events after the first: %v", second)
	}
	log.fail = errors.New("no such place")
	wantProblem(t, call(t, mux, "GET", "/v1/jars/j-1/events", ""), 503, "unavailable")

	var expired []string
	for _, path := range []string{"/v1/owners/o-1/jars?limit=1", ranked + "&limit=1"} {
		expired = append(expired, path+"&cursor="+body(t, call(t, mux, "GET", path, ""))["next"].(string))
	}
	s.catalog("owner-jars", "g2")
	later := open(s)
	for _, path := range expired {
		wantProblem(t, call(t, later, "GET", path, ""), 410, "cursor-expired")
	}

	d := described(t, mux)
	for _, answer := range d.answers() {
		if !d.seen[answer] {
			t.Errorf("described, and never answered: %s", answer)
		}
	}
}

// fill puts something of everything into generation g1.
func (s *site) fill() {
	for _, model := range []string{"jar-status", "owner-jars", processing.HistoryName} {
		s.catalog(model, "g1")
	}
	s.jar("g1", "j-1", `{"version":3,"name":"n"}`)
	s.owner("g1", "o-1", total(5), entry("j-1", `{"any":"thing"}`), entry("j-2", `{}`))
	s.owner("g1", "o-2", total(4))
	id := processing.HistoryID("jar", "j-1")
	for version, place := range []string{"0@7", "0@9"} {
		s.seed(readstore.Bucket{Model: processing.HistoryName, Generation: "g1", Number: readstore.BucketOf(id, processing.DefaultBuckets)},
			readstore.Op{Kind: readstore.SetEntry, ID: id, Field: fmt.Sprintf("%019d", version+1), Value: place})
	}
}

func answersOfCommands(t *testing.T, mux *http.ServeMux, asked *sender) {
	all := func(headers ...string) {
		call(t, mux, "POST", "/v1/jars/j-1/put-coin", `{"amount":5}`, headers...)
		call(t, mux, "POST", "/v1/jars/j-1/break-jar", "", headers...)
	}
	for _, o := range []processing.Outcome{
		accepted(), refused(errJarBroken, 3), refused(errNoJar, 0), refused(errNotMoney, 3), refused(processing.ErrVersionConflict, 3),
		failed(processing.CodeInvalidCommand), failed(processing.CodeTooLarge), failed(processing.CodeDecideFailed), failed(processing.CodeOutcomeNotAvailable),
	} {
		*asked = *answers(o, nil)
		all("Prefer: wait=1")
		call(t, mux, "GET", "/v1/jars/j-1/commands/"+someID, "")
	}
	*asked = *answers(processing.Outcome{}, processing.ErrUndecided)
	all()
	call(t, mux, "GET", "/v1/jars/j-1/commands/"+someID, "")
	all("Content-Type: text/plain")
}

// TestDescribedCommand looks at what the description says of a command and of an event.
func TestDescribedCommand(t *testing.T) {
	type Coin struct {
		Amount int64 `avro:"amount" minimum:"1" maximum:"1000"`
	}
	type PutCoins struct {
		Note  *string `avro:"note" minLength:"1" maxLength:"80"`
		Coin  Coin    `avro:"coin"`
		Other *Coin   `avro:"other"`
	}
	type CoinsPut struct{ Coin Coin }
	a := processing.Decider[int, any, any]{
		Aggregate: "jar", Collection: "jars", Commands: []processing.Type{processing.TypeOf[PutCoins]()}, Events: []processing.Type{processing.TypeOf[CoinsPut]()},
		Decide: func(processing.Context, any, int) ([]any, error) { return nil, nil }, Evolve: func(n int, _ any) int { return n },
	}.Erase()
	// The event's coin is of another time than the command's.
	coin := func(more string) string {
		return `{"type":"record","name":"Coin","fields":[{"name":"amount","type":"long","doc":"In pence."}` + more + `]}`
	}
	text := map[string]string{
		"PutCoins": `{"type":"record","name":"PutCoins","namespace":"jars","doc":"Puts coins.","fields":[
			{"name":"note","type":["null","string"],"default":null},{"name":"coin","type":` + coin("") + `},{"name":"other","type":["null","Coin"],"default":null}]}`,
		"CoinsPut": `{"type":"record","name":"CoinsPut","namespace":"jars","fields":[{"name":"coin","type":` + coin(`,{"name":"mint","type":"string"}`) + `}]}`,
	}
	schema := func(t processing.Type, prefix string) (string, map[string]map[string]any, error) {
		s, err := schemas.Parse(text[t.Name])
		if err != nil {
			return "", nil, err
		}
		definitions, err := s.JSONSchema(prefix)
		return s.FullName(), definitions, err
	}
	description, err := httpapi.Describe("", []*processing.Aggregate{a}, []*processing.ReadModel{processing.History("jar")}, schema)
	if err != nil {
		t.Fatal(err)
	}
	d := newDoc(t, description, false)
	d.wantOpenAPI(t)
	if about := object(d.tree, "paths", "/v1/jars/{id}/put-coins", "post")["description"]; about != "Puts coins." {
		t.Errorf("the command is described as %q", about)
	}
	command := d.schema(t, "paths", "/v1/jars/{id}/put-coins", "post", "requestBody", "content", "application/json", "schema")
	page := d.schema(t, "paths", "/v1/jars/{id}/events", "get", "responses", "200", "content", "application/json", "schema")
	event := func(kind, data string) string {
		return `{"items":[{"id":"e","type":"` + kind + `","version":1,"time":"2026-03-01T12:00:00Z","command_id":"c","data":` + data + `}]}`
	}
	for _, row := range []struct {
		schema *jsonschema.Schema
		text   string
		valid  bool
	}{
		{command, `{"coin":{"amount":1}}`, true},
		{command, `{"coin":{"amount":1000},"note":"n","other":{"amount":2}}`, true},
		{command, `{"coin":{"amount":1},"note":null,"other":null}`, true},
		{command, `{}`, false},
		{command, `{"coin":{}}`, false},
		{command, `{"coin":{"amount":0}}`, false},
		{command, `{"coin":{"amount":1001}}`, false},
		{command, `{"coin":{"amount":1.5}}`, false},
		{command, `{"coin":{"amount":1},"other":{"amount":0}}`, false},
		{command, `{"coin":{"amount":1},"note":""}`, false},
		{command, `{"coin":{"amount":1},"note":"` + strings.Repeat("n", 81) + `"}`, false},
		{command, `{"coin":{"amount":1},"tip":1}`, false},
		{page, event("CoinsPut", `{"coin":{"amount":1,"mint":"m"}}`), true},
		{page, event("CoinsPut", `{"coin":{"amount":1,"mint":"m"},"more":1},"further":1`), true},
		{page, event("CoinsPut", `{"coin":{"amount":1}}`), false},
		{page, event("PutCoins", `{"coin":{"amount":1,"mint":"m"}}`), false},
	} {
		if err := validate(row.schema, row.text); (err == nil) != row.valid {
			t.Errorf("%s: %v", row.text, err)
		}
	}
}

// TestTypesOfOneName has two document types that are called alike.
func TestTypesOfOneName(t *testing.T) {
	type jarDocument struct {
		processing.Document
		Other int64 `json:"other"`
	}
	cups := processing.Documents[jarDocument]{
		Name: "cup-status", Collection: "cups", CodeVersion: 1, Aggregate: "jar",
		Fold: func(*jarDocument, processing.Event) error { return nil },
	}.Erase()
	text, err := httpapi.Describe("", nil, []*processing.ReadModel{jarStatus(), cups}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDoc(t, text, true)
	d.wantOpenAPI(t)
	if s := object(d.tree, "components", "schemas"); s["JarDocument"] == nil || s["httpapi_test.JarDocument"] == nil {
		t.Errorf("the schemas are %v", s)
	}
	for collection, document := range map[string]string{"jars": `{"version":1,"name":"n"}`, "cups": `{"version":1,"other":2}`} {
		s := d.schema(t, "paths", "/v1/"+collection+"/{id}", "get", "responses", "200", "content", "application/json", "schema")
		if err := validate(s, document); err != nil {
			t.Errorf("%s: %v", collection, err)
		}
	}
}

func TestDescriptionOfOneWhoHasItsOwn(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	newCommands(t, commandsConfig(&sender{})).Register(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	if w.Code != http.StatusTeapot {
		t.Errorf("got %d", w.Code)
	}
}

func TestCommandThatCannotBeDescribed(t *testing.T) {
	cause := errors.New("a union has no JSON form")
	c := commandsConfig(&sender{})
	c.JSONSchema = func(processing.Type, string) (string, map[string]map[string]any, error) { return "", nil, cause }
	if _, err := httpapi.NewCommands(c); !errors.Is(err, cause) || !strings.Contains(err.Error(), "POST /v1/jars/{id}/put-coin") {
		t.Errorf("commands: %v", err)
	}
	q := newSite(t).whole(&eventLog{})
	q.JSONSchema = c.JSONSchema
	if _, err := httpapi.NewQueries(q); !errors.Is(err, cause) || !strings.Contains(err.Error(), "GET /v1/jars/{id}/events") {
		t.Errorf("queries: %v", err)
	}
}
