package httpapi_test

import (
	"context"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/readstore"
)

func jars(partition int32) readstore.Source {
	return readstore.Source{Aggregate: "jar", Partition: partition}
}

// at writes a position of the jars.
func at(partition int32, command int64) string {
	return processing.Position{Aggregate: "jar", Partition: partition, Offset: command}.String()
}

func TestBadPosition(t *testing.T) {
	s := newSite(t)
	s.catalog("jar-status", "g1")
	for _, text := range []string{"", "3", "jar/1", "pot/1@2", "jar/" + strconv.Itoa(partitions) + "@2", "jar/1@2,", "jar/1@2;jar/2@2"} {
		if m := wantProblem(t, s.get("/v1/jars/j-1", "Ledgerline-Position: "+text), 400, "invalid-position"); m["field"] != "Ledgerline-Position" {
			t.Errorf("%q: problem %v", text, m)
		}
	}
}

func TestPosition(t *testing.T) {
	id := "j-1"
	home := partitionOf(id, partitions)
	away := (home + 1) % partitions
	number := readstore.BucketOf("o-1", processing.DefaultBuckets)
	// advance moves the checkpoint of partition in every bucket of a model but the one named.
	advance := func(s *site, model string, partition int32, command int64, but int) {
		for n := range buckets(model) {
			if n != but {
				s.apply(readstore.Bucket{Model: model, Generation: "g1", Number: n}, jars(partition), command)
			}
		}
	}
	rows := []struct {
		name, path string
		positions  []string
		// late is what happens after 200 ms.
		early, late func(*site)
		status      int
		waited      bool
	}{
		{name: "held", path: "/v1/jars/" + id, positions: []string{at(home, 7)}, early: func(s *site) { advance(s, "jar-status", home, 7, -1) }, status: 200},
		{name: "other partition", path: "/v1/jars/" + id, positions: []string{at(away, 7)}, status: 200},
		{name: "nothing yet is not command 0", path: "/v1/jars/" + id, positions: []string{at(home, 0)}, status: 503, waited: true},
		{name: "one short", path: "/v1/jars/" + id, positions: []string{at(home, 7)}, early: func(s *site) { advance(s, "jar-status", home, 6, -1) }, status: 503, waited: true},
		{name: "comes", path: "/v1/jars/" + id, positions: []string{at(home, 7)}, late: func(s *site) { advance(s, "jar-status", home, 8, -1) }, status: 200, waited: true},
		{name: "comes where nothing is", path: "/v1/jars/none", positions: []string{at(partitionOf("none", partitions), 7)}, late: func(s *site) { advance(s, "jar-status", partitionOf("none", partitions), 7, -1) }, status: 404, waited: true},
		{name: "sums need their bucket", path: "/v1/owners/o-1", positions: []string{at(1, 7)}, early: func(s *site) {
			s.apply(readstore.Bucket{Model: "owner-jars", Generation: "g1", Number: number}, jars(1), 7)
		}, status: 200},
		{name: "sums behind", path: "/v1/owners/o-1", positions: []string{at(1, 7)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, number) }, status: 503, waited: true},
		{name: "entries behind", path: "/v1/owners/o-1/jars", positions: []string{at(1, 7)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, number) }, status: 503, waited: true},
		{name: "two positions", path: "/v1/owners/o-1", positions: []string{at(1, 7) + " , " + at(2, 5)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, -1) }, status: 503, waited: true},
		{name: "two headers", path: "/v1/owners/o-1", positions: []string{at(1, 7), at(2, 5)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, -1) }, status: 503, waited: true},
		{name: "ranked needs all", path: "/v1/owners?sort=-total&currency=GBP", positions: []string{at(1, 7)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, 15) }, status: 503, waited: true},
		{name: "ranked has all", path: "/v1/owners?sort=-total&currency=GBP", positions: []string{at(1, 7)}, early: func(s *site) { advance(s, "owner-jars", 1, 7, -1) }, status: 200},
		{name: "ranked loses what it had between places and views", path: "/v1/owners?sort=-total&currency=GBP", positions: []string{at(1, 7)}, early: func(s *site) {
			before := newSite(s.t)
			before.catalog("owner-jars", "g1")
			before.owner("g1", "o-1", total(1))
			advance(s, "owner-jars", 1, 7, -1)
			s.store.sums = func() { s.store.Store = before.store.Store }
		}, status: 503, waited: true},
		{name: "promoted meanwhile", path: "/v1/jars/" + id, positions: []string{at(home, 7)}, late: func(s *site) {
			s.apply(readstore.Bucket{Model: "jar-status", Generation: "g2", Number: int(home)}, jars(home), 7, readstore.Op{Kind: readstore.SetDocument, ID: id, Value: `{"version":2}`})
			s.catalog("jar-status", "g2")
		}, status: 200, waited: true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				s.catalog("jar-status", "g1")
				s.catalog("owner-jars", "g1")
				s.jar("g1", id, `{"version":1}`)
				s.owner("g1", "o-1", total(5))
				if row.early != nil {
					row.early(s)
				}
				if row.late != nil {
					go func() {
						<-time.After(200 * time.Millisecond)
						row.late(s)
					}()
				}
				var headers []string
				for _, p := range row.positions {
					headers = append(headers, "Ledgerline-Position: "+p)
				}
				start := time.Now()
				w := s.get(row.path, headers...)
				took := time.Since(start)
				switch row.status {
				case 503:
					wantProblem(t, w, 503, "read-model-behind")
					if took != 5*time.Second {
						t.Errorf("gave up after %s", took)
					}
				default:
					if w.Code != row.status {
						t.Errorf("status %d %s", w.Code, w.Body)
					}
					// A promotion is seen once the remembered catalog is a second old.
					if row.waited && (took < 200*time.Millisecond || took > 1050*time.Millisecond) || !row.waited && took != 0 {
						t.Errorf("took %s", took)
					}
				}
			})
		})
	}
}

func TestWaitEndsWhenTheClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.catalog("jar-status", "g1")
		ctx, cancel := context.WithTimeout(t.Context(), 33*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/jars/j-1", nil)
		r.Header.Set("Ledgerline-Position", at(partitionOf("j-1", partitions), 1))
		w := httptest.NewRecorder()
		start := time.Now()
		s.mux.ServeHTTP(w, r)
		wantProblem(t, w, 503, "unavailable")
		if took := time.Since(start); took != 33*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}
