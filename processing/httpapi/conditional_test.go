package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

// TestNotModified asks for documents of both kinds under conditions.
func TestNotModified(t *testing.T) {
	s := newSite(t)
	s.catalog("jar-status", "g1")
	s.catalog("owner-jars", "g1")
	s.jar("g1", "j-1", `{"version":7}`)
	s.owner("g1", "o-1", total(5))
	for path, start := range map[string]string{"/v1/jars/j-1": `"7-`, "/v1/owners/o-1": `"`} {
		tag := s.get(path).Header().Get("ETag")
		if !strings.HasPrefix(tag, start) || len(tag) != len(start)+17 || tag[len(tag)-1] != '"' {
			t.Fatalf("%s: ETag %s", path, tag)
		}
		for _, row := range []struct {
			conditions []string
			same       bool
		}{
			{nil, false},
			{[]string{tag}, true},
			{[]string{"W/" + tag}, true},
			{[]string{`"a,b" , "" ,	W/` + tag}, true},
			{[]string{`"a"`, tag}, true},
			{[]string{" * "}, true},
			{[]string{""}, false},
			{[]string{`"7"`}, false},
			{[]string{strings.Trim(tag, `"`)}, false},
			{[]string{"w/" + tag}, false},
			{[]string{"W/W/" + tag}, false},
			{[]string{`"*"`}, false},
			{[]string{`"a,*,b"`}, false}, // one tag, with commas
			{[]string{"*", `"a"`}, false},
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				var headers []string
				for _, c := range row.conditions {
					headers = append(headers, "If-None-Match: "+c)
				}
				w := call(t, s.mux, method, path, "", headers...)
				if w.Header().Get("ETag") != tag || w.Header().Get("Cache-Control") != "no-cache" {
					t.Errorf("%s %s %q: %d %v", method, path, row.conditions, w.Code, w.Header())
				}
				if row.same && (w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "") || !row.same && (w.Code != http.StatusOK || w.Body.Len() == 0) {
					t.Errorf("%s %s %q: %d %s", method, path, row.conditions, w.Code, w.Body)
				}
			}
		}
	}
	// Nothing is not the same as something.
	wantProblem(t, s.get("/v1/jars/none", "If-None-Match: *"), 404, "not-found")
	wantProblem(t, s.get("/v1/owners/none", "If-None-Match: *"), 404, "not-found")
}

// TestETagIsOfWhatIsShown changes what is shown, by an event and by another generation.
func TestETagIsOfWhatIsShown(t *testing.T) {
	s := newSite(t)
	s.catalog("jar-status", "g1")
	s.catalog("owner-jars", "g1")
	s.jar("g1", "j-1", `{"version":7,"name":"a"}`)
	s.jar("g2", "j-1", `{"version":7,"name":"b"}`) // as another code version shows the same event
	s.jar("g3", "j-1", `{"version":7,"name":"a"}`)
	s.owner("g1", "o-1", total(5))
	first, owner := s.get("/v1/jars/j-1").Header().Get("ETag"), s.get("/v1/owners/o-1").Header().Get("ETag")
	for generation, status := range map[string]int{"g2": 200, "g3": 304} {
		s.catalog("jar-status", generation)
		s.open()
		if w := s.get("/v1/jars/j-1", "If-None-Match: "+first); w.Code != status || (w.Header().Get("ETag") == first) != (status == 304) {
			t.Errorf("%s: %d %v %s", generation, w.Code, w.Header(), w.Body)
		}
	}
	s.owner("g1", "o-1", total(1))
	w := s.get("/v1/owners/o-1", "If-None-Match: "+owner)
	if w.Code != 200 || w.Header().Get("ETag") == owner {
		t.Errorf("another total: %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestNotModifiedHasThePosition has a document that is the same only until its position is there: 304 is
// an answer as of the position.
func TestNotModifiedHasThePosition(t *testing.T) {
	s := newSite(t)
	s.catalog("jar-status", "g1")
	s.jar("g1", "j-1", `{"version":1}`)
	tag := s.get("/v1/jars/j-1").Header().Get("ETag")
	home := partitionOf("j-1", partitions)
	s.store.loads = func(n int) {
		if n == 2 { // the query has seen it once, and behind
			s.apply(readstore.Bucket{Model: "jar-status", Generation: "g1", Number: int(home)}, jars(home), 7,
				readstore.Op{Kind: readstore.SetDocument, ID: "j-1", Value: `{"version":2}`})
		}
	}
	position := processing.Position{Aggregate: "jar", Partition: home, Offset: 7}.String()
	if w := s.get("/v1/jars/j-1", "Ledgerline-Position: "+position, "If-None-Match: "+tag); w.Code != 200 || !strings.HasPrefix(w.Header().Get("ETag"), `"2-`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if s.store.loaded < 2 {
		t.Errorf("looked %d times: the position was there before", s.store.loaded)
	}
}
