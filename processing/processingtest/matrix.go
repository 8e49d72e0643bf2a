package processingtest

import (
	"fmt"
	"testing"

	"github.com/ledgerline/ledgerline/processing"
)

// Matrix says what comes of every command in every status of an aggregate.
type Matrix[C comparable, E any] struct {
	// Histories are the events that lead to each status, by its name.
	Histories map[string][]E
	// Outcomes holds, by status and command, a *processing.Refusal or the one event that follows. Each
	// status has a command of every type.
	Outcomes map[string]map[C]any
	// Elsewhere lists refusals that depend on more than the status, and have tests of their own.
	Elsewhere []*processing.Refusal
}

// RunMatrix runs m as subtests of t, one per command and status. It fails if a status lacks a command
// or if a refusal that the Decider declares is neither in m nor Elsewhere.
func RunMatrix[S any, C comparable, E any](t *testing.T, s Scenario[S, C, E], m Matrix[C, E]) {
	t.Helper()
	refused := map[string]bool{}
	for _, r := range m.Elsewhere {
		refused[r.Code] = true
	}
	var rows []Row[C, E]
	for status, history := range m.Histories {
		if got, want := len(m.Outcomes[status]), len(s.Decider.Commands); got != want {
			t.Errorf("matrix has %d of %d commands in status %s", got, want, status)
		}
		for command, want := range m.Outcomes[status] {
			r := Row[C, E]{Name: fmt.Sprintf("%T in status %s", command, status), Given: history, When: command}
			switch want := want.(type) {
			case *processing.Refusal:
				r.Refused = want
				refused[want.Code] = true
			case E:
				r.Then = []E{want}
			default:
				t.Errorf("%s: want is a %T, neither refusal nor event", r.Name, want)
			}
			rows = append(rows, r)
		}
	}
	for _, r := range s.Decider.Refusals {
		if !refused[r.Code] {
			t.Errorf("no row refuses with %s", r.Code)
		}
	}
	s.Run(t, rows)
}
