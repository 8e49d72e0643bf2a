package httpapi

import (
	"errors"
	"net/url"
	"testing"
)

// FuzzCursor holds that a cursor is refused as the caller's mistake, or is one that reads as itself again.
func FuzzCursor(f *testing.F) {
	for _, c := range []cursor{{"g1", "ranked", "o-1", 7}, {"g1", "ranked", "", -1 << 63}, {"", "ranked", "o-1", 0}, {"g1", "entries:o-1", "\xff", 0}} {
		f.Add(c.String(), "10")
	}
	f.Add("!", "0")
	f.Add("W10", "501")
	f.Fuzz(func(t *testing.T, text, limit string) {
		n, c, err := paging(url.Values{"cursor": {text}, "limit": {limit}}, "ranked")
		var refused *problem
		if err != nil {
			if !errors.As(err, &refused) || refused.Status != 400 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if n < 1 || n > maxLimit || c.Generation == "" || c.List != "ranked" {
			t.Fatalf("%q is taken as %+v, limit %d", text, c, n)
		}
		if _, again, err := paging(url.Values{"cursor": {c.String()}}, "ranked"); err != nil || *again != *c {
			t.Fatalf("%q is taken as %+v, and that as %+v, %v", text, c, again, err)
		}
	})
}
