package httpapi_test

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
)

// collect pages through path and returns all items, by id.
func collect[T any](t *testing.T, s *site, path string, limit int, read func(any) T) []T {
	t.Helper()
	var all []T
	for cursor := ""; ; {
		w := s.get(path + "limit=" + strconv.Itoa(limit) + cursor)
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		m := body(t, w)
		items := m["items"].([]any)
		for _, item := range items {
			all = append(all, read(item))
		}
		next, more := m["next"].(string)
		if len(items) > limit || more && len(items) != limit {
			t.Fatalf("page of %d items, limit %d, next %q", len(items), limit, next)
		}
		if !more {
			return all
		}
		cursor = "&cursor=" + next
	}
}

func entry(field, value string) readstore.Op {
	return readstore.Op{Kind: readstore.SetEntry, Field: field, Value: value}
}

func TestEntries(t *testing.T) {
	s := newSite(t)
	s.catalog("owner-jars", "g1")
	var want []string
	for i := range 60 {
		id := fmt.Sprintf("j-%02d", 59-i)
		s.owner("g1", "o-1", entry(id, `{"jar":"`+id+`"}`))
		want = append(want, id)
	}
	s.owner("g1", "o-1", total(1))
	s.owner("g1", "o-2", total(1))
	slices.Sort(want)
	id := func(item any) string { return item.(map[string]any)["jar"].(string) }
	for _, limit := range []int{1, 7, 20, 59, 60, 61, 500} {
		if got := collect(t, s, "/v1/owners/o-1/jars?", limit, id); !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	if n := len(body(t, s.get("/v1/owners/o-1/jars"))["items"].([]any)); n != 50 {
		t.Errorf("%d items by default", n)
	}
	if w := s.get("/v1/owners/o-2/jars"); w.Code != 200 || w.Body.String() != `{"items":[]}`+"\n" {
		t.Errorf("no entries: %d %s", w.Code, w.Body)
	}
	wantProblem(t, s.get("/v1/owners/o-3/jars"), 404, "not-found")
	wantProblem(t, s.get("/v1/owners/a%2Fb/jars"), 400, "invalid-id")

	s.owner("g1", "o-4", total(1), entry("x", "no JSON"))
	wantProblem(t, s.get("/v1/owners/o-4/jars"), 503, "unavailable")
}

func TestRanked(t *testing.T) {
	s := newSite(t)
	s.catalog("owner-jars", "g1")
	type place struct {
		id  string
		sum int64
	}
	var want []place
	for i := range 100 {
		p := place{fmt.Sprintf("o-%d", i), int64(i*i%17) - 3}
		s.owner("g1", p.id, total(p.sum))
		want = append(want, p)
	}
	slices.SortFunc(want, func(a, b place) int { return cmp.Or(cmp.Compare(b.sum, a.sum), strings.Compare(b.id, a.id)) })
	read := func(item any) place {
		m := item.(map[string]any)
		return place{m["owner_id"].(string), int64(m["total"].(float64))}
	}
	for _, limit := range []int{1, 7, 50, 99, 100, 101} {
		if got := collect(t, s, "/v1/owners?sort=-total&currency=GBP&", limit, read); !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	if w := s.get("/v1/owners?sort=-total&currency=EUR"); w.Code != 200 || w.Body.String() != `{"items":[]}`+"\n" {
		t.Errorf("empty list: %d %s", w.Code, w.Body)
	}
}

func TestBadPage(t *testing.T) {
	s := newSite(t)
	s.catalog("owner-jars", "g1")
	for _, id := range []string{"o-1", "o-2"} {
		s.owner("g1", id, total(1), entry("a", "1"), entry("b", "2"))
	}
	ofEntries := body(t, s.get("/v1/owners/o-1/jars?limit=1"))["next"].(string)
	ofRanked := body(t, s.get("/v1/owners?sort=-total&currency=GBP&limit=1"))["next"].(string)
	encoded := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	const ranked = "/v1/owners?currency=GBP&sort=-total"
	for _, row := range []struct{ path, code, field string }{
		{"/v1/owners", "invalid-parameter", "sort"},
		{"/v1/owners?currency=GBP", "invalid-parameter", "sort"},
		{"/v1/owners?currency=GBP&sort=total", "invalid-parameter", "sort"},
		{"/v1/owners?currency=GBP&sort=-name", "invalid-parameter", "sort"},
		{"/v1/owners?sort=-total", "invalid-parameter", "currency"},
		{"/v1/owners?sort=-total&currency=%7Bx%7D", "invalid-parameter", "currency"},
		{ranked + "&limit=0", "invalid-parameter", "limit"},
		{ranked + "&limit=501", "invalid-parameter", "limit"},
		{ranked + "&limit=", "invalid-parameter", "limit"},
		{ranked + "&cursor=", "invalid-cursor", "cursor"},
		{ranked + "&cursor=%21", "invalid-cursor", "cursor"},
		{ranked + "&cursor=" + encoded("[]"), "invalid-cursor", "cursor"},
		{ranked + "&cursor=" + encoded(`{"l":"total:GBP"}`), "invalid-cursor", "cursor"},
		{ranked + "&cursor=" + ofEntries, "invalid-cursor", "cursor"},
		{"/v1/owners?currency=EUR&sort=-total&cursor=" + ofRanked, "invalid-cursor", "cursor"},
		{"/v1/owners/o-1/jars?limit=x", "invalid-parameter", "limit"},
		{"/v1/owners/o-2/jars?cursor=" + ofEntries, "invalid-cursor", "cursor"},
	} {
		if m := wantProblem(t, s.get(row.path), 400, row.code); m["field"] != row.field {
			t.Errorf("%s: problem %v, want field %s", row.path, m, row.field)
		}
	}
}

func TestCursorNamesItsGeneration(t *testing.T) {
	// The second page of g1, which g2 would show otherwise.
	for path, second := range map[string]string{
		"/v1/owners/o-1/jars?":                 `{"items":["only in g1"]}`,
		"/v1/owners?sort=-total&currency=GBP&": `{"items":[]}`,
	} {
		s := newSite(t)
		s.catalog("owner-jars", "g1")
		for _, generation := range []string{"g1", "g2"} {
			for _, id := range []string{"o-1", "o-2"} {
				s.owner(generation, id, total(1), entry("a", `"`+generation+`"`), entry("b", `"`+generation+`"`))
			}
		}
		next := body(t, s.get(path+"limit=1"))["next"].(string)
		s.owner("g1", "o-1", total(6), entry("b", `"only in g1"`)) // o-1 has moved before the cursor
		s.catalog("owner-jars", "g2", "g1")
		s.open()
		if w := s.get(path + "cursor=" + next); w.Code != 200 || w.Body.String() != second+"\n" {
			t.Errorf("%s: a standby generation: %d %s", path, w.Code, w.Body)
		}
		s.retire("owner-jars", "g1")
		s.open()
		wantProblem(t, s.get(path+"cursor="+next), 410, "cursor-expired")
		s.catalog("owner-jars", "g2")
		s.open()
		wantProblem(t, s.get(path+"cursor="+next), 410, "cursor-expired")
	}
}
