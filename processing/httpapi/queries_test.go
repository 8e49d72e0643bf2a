package httpapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/httpapi"
	"github.com/ledgerline/ledgerline/readstore"
)

func TestDocument(t *testing.T) {
	s := newSite(t)
	s.catalog("jar-status", "g1")
	text := `{ "version":7, "name":"<jar> é", "big":12345678901234567890 }`
	s.jar("g1", "j-1", text)
	s.jar("g1", "j%2", `{"version":1}`)
	s.jar("g1", "broken", `{`)

	for _, method := range []string{"GET", "HEAD"} {
		w := call(t, s.mux, method, "/v1/jars/j-1", "")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("ETag"), `"7-`) || w.Header().Get("Content-Type") != "application/json" || w.Body.String() != text+"\n" {
			t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
	if w := s.get("/v1/jars/j%252"); w.Code != 200 {
		t.Errorf("escaped id: %d %s", w.Code, w.Body)
	}
	wantProblem(t, s.get("/v1/jars/j-2"), 404, "not-found")
	wantProblem(t, s.get("/v1/jars/a%2Fb"), 400, "invalid-id")
	wantProblem(t, s.get("/v1/jars/broken"), 503, "unavailable")
	wantProblem(t, s.get("/v1/jars"), 404, "unknown-resource")
	wantProblem(t, s.get("/v1/pots/j-1"), 404, "unknown-resource")
}

func TestSums(t *testing.T) {
	s := newSite(t)
	s.catalog("owner-jars", "g1")
	s.owner("g1", "o-1", total(5), total(7))
	w := s.get("/v1/owners/o-1")
	if want := `{"owner_id":"o-1","total":12}` + "\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wantProblem(t, s.get("/v1/owners/o-2"), 404, "not-found")
	wantProblem(t, s.get("/v1/owners/a%2Fb"), 400, "invalid-id")
}

func TestGenerations(t *testing.T) {
	paths := map[string]string{
		"document": "/v1/jars/j-1", "sums": "/v1/owners/o-1", "entries": "/v1/owners/o-1/jars", "ranked": "/v1/owners?sort=-total&currency=GBP",
	}
	fill := func(s *site, generation string) {
		s.jar(generation, "j-1", `{"version":1,"from":"`+generation+`"}`)
		s.owner(generation, "o-1", total(5), readstore.Op{Kind: readstore.SetEntry, Field: generation, Value: `"` + generation + `"`})
	}
	both := func(s *site, active string, others ...string) {
		s.catalog("jar-status", active, others...)
		s.catalog("owner-jars", active, others...)
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			wantProblem(t, s.get(path), 503, "read-model-rebuilding")

			both(s, "g1")
			fill(s, "g1")
			if w := s.get(path); w.Code != 200 {
				t.Fatalf("a promoted generation is not seen at once: %d %s", w.Code, w.Body)
			}

			// The remembered catalog names g1; its content is gone.
			fill(s, "g2")
			both(s, "g2")
			for _, model := range []string{"jar-status", "owner-jars"} {
				if err := s.store.Drop(t.Context(), readstore.Generation{ID: "g1", Model: model, Buckets: buckets(model)}); err != nil {
					t.Fatal(err)
				}
			}
			if w := s.get(path); w.Code != 200 {
				t.Fatalf("the pointer was not read again: %d %s", w.Code, w.Body)
			}
			if name != "entries" { // the wrapper breaks what the other three read
				s.store.broken["g2"] = true
				wantProblem(t, s.get(path), 503, "read-model-broken")
				both(s, "g3")
				fill(s, "g3")
				if w := s.get(path); w.Code != 200 {
					t.Fatalf("the pointer was not read again when broken: %d %s", w.Code, w.Body)
				}
				s.store.fail = errors.New("connection refused")
				wantProblem(t, s.get(path), 503, "unavailable")
			}
		})
	}
}

func TestCatalogIsRememberedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.catalog("jar-status", "g1")
		s.jar("g1", "j-1", `{"version":1}`)
		read := func() int {
			if w := s.get("/v1/jars/j-1"); w.Code != 200 {
				t.Fatal(w.Code, w.Body)
			}
			return s.store.catalogs
		}
		if n := read(); n != 1 {
			t.Fatalf("%d reads of the catalog by the first query", n)
		}
		<-time.After(999 * time.Millisecond)
		if n := read(); n != 1 {
			t.Errorf("%d reads of the catalog within a second", n)
		}
		<-time.After(time.Millisecond)
		if n := read(); n != 2 {
			t.Errorf("%d reads of the catalog after a second", n)
		}
	})
}

func TestEmptyGenerationIsRefused(t *testing.T) {
	s := newSite(t)
	c := readstore.Catalog{Active: "g1", Generations: map[string]readstore.Generation{"g1": {ID: "g1", Model: "jar-status", State: readstore.Ready}}}
	if err := s.store.UpdateCatalog(t.Context(), "jar-status", c); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s.get("/v1/jars/j-1"), 503, "unavailable")
}

func TestBothOnOneMux(t *testing.T) {
	for _, commandsFirst := range []bool{true, false} {
		s := newSite(t)
		s.catalog("jar-status", "g1")
		s.jar("g1", "j-1", `{"version":1}`)
		commands, err := httpapi.NewCommands(httpapi.CommandsConfig{
			Aggregates: []*processing.Aggregate{jar()}, Sender: answers(accepted(), nil), DecodeJSON: decodeJSON, JSONSchema: jarSchema,
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		if commandsFirst {
			commands.Register(mux)
		}
		s.queries.Register(mux)
		if !commandsFirst {
			commands.Register(mux)
		}
		for _, row := range []struct {
			method, path string
			status       int
			allow        string
		}{
			{"POST", "/v1/jars/j-1/put-coin", 201, ""},
			{"GET", "/v1/jars/j-1", 200, ""},
			{"GET", "/v1/jars/j-1/commands/" + someID, 200, ""},
			{"PUT", "/v1/jars/j-1", 405, "GET, HEAD"},
			{"POST", "/v1/owners", 405, "GET, HEAD"},
			{"POST", "/v1/owners/o-1/jars", 405, "GET, HEAD"},
			{"GET", "/v1/jars/j-1/put-coin", 405, "POST"},
			{"GET", "/v1/nothing", 404, ""},
		} {
			w := call(t, mux, row.method, row.path, "")
			if w.Code != row.status || w.Header().Get("Allow") != row.allow {
				t.Errorf("commands first %v: %s %s: %d, Allow %q", commandsFirst, row.method, row.path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestNewQueriesRefuses(t *testing.T) {
	s := newSite(t)
	for name, spoil := range map[string]func(*httpapi.QueriesConfig){
		"no models":      func(c *httpapi.QueriesConfig) { c.Models = nil },
		"no store":       func(c *httpapi.QueriesConfig) { c.Store = nil },
		"no partition":   func(c *httpapi.QueriesConfig) { c.Partition = nil },
		"no partitions":  func(c *httpapi.QueriesConfig) { c.Partitions = nil },
		"one collection": func(c *httpapi.QueriesConfig) { c.Models = append(c.Models, jarStatus()) },
		"bad collection": func(c *httpapi.QueriesConfig) { c.Models[0].Collection = "a/b" },
		"no view":        func(c *httpapi.QueriesConfig) { c.Models[1].View = nil },
		"bare ranking":   func(c *httpapi.QueriesConfig) { c.Models[1].Rankings = []processing.Ranking{{Sort: "total"}} },
	} {
		config := s.config()
		spoil(&config)
		if _, err := httpapi.NewQueries(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
