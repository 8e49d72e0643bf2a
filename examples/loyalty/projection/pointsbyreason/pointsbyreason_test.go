package pointsbyreason_test

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/examples/loyalty/app"
	"github.com/ledgerline/ledgerline/examples/loyalty/domain/loyalty"
	"github.com/ledgerline/ledgerline/examples/loyalty/projection/pointsbyreason"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

// commands draws two reasons, so that members of different partitions often share one.
func commands() *rapid.Generator[loyalty.Command] {
	return rapid.Custom(func(t *rapid.T) loyalty.Command {
		points := rapid.Int64Range(1, 5).Draw(t, "points")
		switch rapid.SampledFrom([]string{"earn", "spend", "expire"}).Draw(t, "command") {
		case "spend":
			return loyalty.SpendPoints{Points: points}
		case "expire":
			return loyalty.ExpirePoints{Points: points}
		default:
			return loyalty.EarnPoints{Points: points, Reason: rapid.SampledFrom([]string{"purchase", "review"}).Draw(t, "reason")}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckOperations(t, pointsbyreason.ReadModel, processingtest.Log(loyalty.Decider, commands()))
}

func TestSums(t *testing.T) {
	sums := map[string]int64{}
	for _, data := range []any{
		loyalty.PointsEarned{MemberID: "m-1", Points: 50, Reason: "purchase"},
		loyalty.PointsSpent{MemberID: "m-1", Points: 20},
		loyalty.PointsEarned{MemberID: "m-2", Points: 7, Reason: "purchase"},
		loyalty.PointsExpired{MemberID: "m-1", Points: 5},
	} {
		ops, err := pointsbyreason.ReadModel.Project(processing.Event{Aggregate: "loyalty", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			if op.ID != "purchase" {
				t.Errorf("%+v: want the document purchase, got %s", data, op.ID)
			}
			sums[op.Field] += op.Delta
		}
	}
	got, err := pointsbyreason.ReadModel.View("purchase", sums)
	if want := (pointsbyreason.PointsByReason{Reason: "purchase", Points: 57, Times: 2}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := pointsbyreason.ReadModel.Project(processing.Event{Data: "points"}); err == nil {
		t.Error("an event of an unknown type was projected")
	}
}

// TestServed shows that the App has the read model: what members earn over HTTP is summed by reason.
func TestServed(t *testing.T) {
	l, err := local.Start(t.Context(), local.Config{App: app.App})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		http.DefaultClient.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}()
	var positions []string
	for path, points := range map[string]string{"/v1/members/m-1/earn-points": "50", "/v1/members/m-2/earn-points": "7"} {
		a, err := http.Post(l.URL+path, "application/json", strings.NewReader(`{"points":`+points+`,"reason":"purchase"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusCreated {
			t.Fatalf("%s: got %s", path, a.Status)
		}
		positions = append(positions, a.Header.Get("Ledgerline-Position"))
	}
	query, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL+"/v1/reasons/purchase", nil)
	if err != nil {
		t.Fatal(err)
	}
	query.Header["Ledgerline-Position"] = positions
	a, err := http.DefaultClient.Do(query)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if want := `{"reason":"purchase","points":57,"times":2}`; err != nil || strings.TrimSpace(string(body)) != want {
		t.Errorf("got %s %s, %v, want %s", a.Status, body, err, want)
	}
}
