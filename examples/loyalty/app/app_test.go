package app_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
)

// TestFromCommandToRebuild goes the whole way: commands by HTTP, a query that sees them, and a read
// model built again from the log, verified and promoted.
func TestFromCommandToRebuild(t *testing.T) {
	l := start(t)
	const earn50 = `{"points":50,"reason":"purchase"}`
	member := l.URL + "/v1/members/m-1"

	var position string
	for _, c := range []struct {
		command, body string
		status        int
		code          string // of the refusal
	}{
		{"spend-points", `{"points":1}`, 404, "member-not-found"},
		{"earn-points", `{"points":0,"reason":"purchase"}`, 422, "points-not-positive"},
		{"earn-points", `{"points":1.5,"reason":"purchase"}`, 422, "not-an-integer"},
		{"earn-points", `{"points":1,"reason":"a purchase"}`, 400, "invalid-command"},
		{"earn-points", earn50, 201, ""},
		{"spend-points", `{"points":51}`, 409, "insufficient-points"},
		{"spend-points", `{"points":20}`, 201, ""},
		{"expire-points", `{"points":31}`, 409, "insufficient-points"},
		{"expire-points", `{"points":5}`, 201, ""},
	} {
		a := request(t, "POST", member+"/"+c.command, c.body)
		var problem struct{ Code string }
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.status != c.status || problem.Code != c.code {
			t.Fatalf("%s %s: want %d %s, got %d %s", c.command, c.body, c.status, c.code, a.status, a.body)
		}
		if a.status == 201 {
			position = a.position
		}
	}

	const want = `{"version":3,"member_id":"m-1","balance":25,"earned":50,"spent":20,"expired":5}`
	if a := request(t, "GET", member, "", "Ledgerline-Position", position); a.status != 200 || a.body != want {
		t.Errorf("after %s: got %d %s, want %s", position, a.status, a.body, want)
	}

	args := append([]string{"run", "points-balance", "--promote"}, strings.Fields(l.Flags())...)
	code, printed := run(t.Context(), ledgerline.RunRebuild, args...)
	if code != ledgerline.ExitOK || !strings.Contains(printed, "3 events folded, 1 keys compared, 0 differences") || !strings.Contains(printed, "is verified and active") {
		t.Errorf("rebuild ended with %d and said:\n%s", code, printed)
	}
	if a := request(t, "GET", member, "", "Ledgerline-Position", position); a.status != 200 || a.body != want {
		t.Errorf("after the rebuild: got %d %s, want %s", a.status, a.body, want)
	}
}
