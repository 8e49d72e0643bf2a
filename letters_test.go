package ledgerline_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline"
)

// TestRedriveOfACommand has two commands become dead letters: one whose schema is registered later, one that
// stays broken. Both are sent again: the first is decided then, the second is a dead letter once more.
func TestRedriveOfACommand(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 3)
	serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	p := newPlain(t, conn)
	const subject = "order.commands-ledgerline.order.PlaceOrder"
	p.evolve("order.commands-ledgerline.order.CancelOrder")
	missing := p.newest("order.commands-ledgerline.order.CancelOrder") + 1 // the id of the next schema
	good := p.commandRecord("order", "o-1", uuid.Must(uuid.NewV7()).String(), "avro", act{"PlaceOrder", map[string]any{"customer_id": "ada", "total_amount": gbp(5)}})
	early := &kgo.Record{Topic: good.Topic, Key: good.Key, Headers: append(good.Headers, header("ce_correlationid", "c-1", "mine", "yes")...)}
	early.Value = append(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(missing)), good.Value[5:]...), "\x06web"...)
	broken := &kgo.Record{Topic: good.Topic, Key: []byte("o-2"), Value: []byte{0xff, 'x'}} // without an id
	p.append(early, broken)

	type letter struct {
		ID, Cause, Type, Position, Hex string
		AggregateID                    string `json:"aggregate_id"`
		CommandID                      string `json:"command_id"`
		Headers                        []struct{ Name, Value string }
		Value                          json.RawMessage
	}
	list := func() map[string][]letter {
		byKey := map[string][]letter{}
		for _, text := range lines(letters(t, conn, ledgerline.ExitOK, "list", "-o", "json", "--aggregate", "order")) {
			one := parseJSON[letter](t, text)
			byKey[one.AggregateID] = append(byKey[one.AggregateID], one)
		}
		return byKey
	}
	var found map[string][]letter
	await(t, "two dead letters", func() error {
		if found = list(); len(found["o-1"]) != 1 || len(found["o-2"]) != 1 {
			return fmt.Errorf("there are %v", found)
		}
		return nil
	})
	first, second := found["o-1"][0], found["o-2"][0]
	place := func(r *kgo.Record) string { return fmt.Sprintf("order/%d@%d", r.Partition, r.Offset) }
	if first.Cause != "undecodable" || first.CommandID != headerOf(early, "ce_id") || first.Type != "ledgerline.order.PlaceOrder" || first.Position != place(early) || second.Position != place(broken) {
		t.Errorf("listed: %+v, %+v", first, second)
	}
	if table := letters(t, conn, ledgerline.ExitOK, "list"); !strings.Contains(table, first.ID) || !strings.Contains(table, second.ID) || len(lines(table)) != 3 {
		t.Errorf("the table is:\n%s", table)
	}
	if shown := parseJSON[letter](t, letters(t, conn, ledgerline.ExitOK, "show", second.ID, "-o", "json")); shown.Hex != "ff78" || shown.Value != nil || len(shown.Headers) != 0 {
		t.Errorf("the broken one is shown as %+v", shown)
	}
	letters(t, conn, ledgerline.ExitMisuse, "redrive", first.ID) // nobody says yes
	if text := letters(t, conn, ledgerline.ExitFailed, "redrive", first.ID, second.ID, "--dry-run"); strings.Count(text, "would fail again: undecodable") != 2 {
		t.Errorf("a dry run before it is mended: %s", text)
	}

	p.evolve(subject)
	if id := p.newest(subject); id != missing {
		t.Fatalf("the schema has id %d, want %d", id, missing)
	}
	if shown := letters(t, conn, ledgerline.ExitOK, "show", first.ID); !strings.Contains(shown, `"customer_id":"ada"`) || !strings.Contains(shown, "header mine") {
		t.Errorf("the mended one is shown as:\n%s", shown)
	}
	if text := letters(t, conn, ledgerline.ExitFailed, "redrive", first.ID, second.ID, "--dry-run"); !strings.Contains(text, first.ID+" would be decided: PlaceOrder") || !strings.Contains(text, second.ID+" would fail again") {
		t.Errorf("a dry run after it is mended: %s", text)
	}
	if n := len(p.read(good.Topic)); n != 2 {
		t.Fatalf("dry runs sent something: there are %d commands", n)
	}

	type redriven struct {
		Status, Code string
		CommandID    string `json:"command_id"`
		DeadLetter   bool   `json:"dead_letter"`
	}
	sent := lines(letters(t, conn, ledgerline.ExitFailed, "redrive", first.ID, second.ID, "--yes", "-o", "json"))
	if len(sent) != 2 {
		t.Fatalf("redrive says %q", sent)
	}
	decided, again := parseJSON[redriven](t, sent[0]), parseJSON[redriven](t, sent[1])
	if decided.Status != "ACCEPTED" || decided.DeadLetter || again.Status != "FAILED" || again.Code != "undecodable" || !again.DeadLetter {
		t.Errorf("redrive says %q", sent)
	}
	i := slices.IndexFunc(p.read(good.Topic), func(r *kgo.Record) bool { return headerOf(r, "ce_id") == decided.CommandID })
	if i < 0 || uuid.MustParse(decided.CommandID).Version() != 7 {
		t.Fatalf("no command has the id %s", decided.CommandID)
	}
	command := p.read(good.Topic)[i]
	if string(command.Value) != string(early.Value) || command.Partition != early.Partition || headerOf(command, "mine") != "yes" || len(command.Headers) != len(early.Headers)+1 {
		t.Errorf("sent again: %+v, it was %+v", command, early)
	}
	events := p.read("order.events")
	if len(events) != 1 || headerOf(events[0], "ce_commandid") != decided.CommandID || headerOf(events[0], "ce_correlationid") != "c-1" || headerOf(events[0], "ce_causationid") != first.CommandID {
		t.Errorf("the events are %v, of command %s, caused by %s", events, decided.CommandID, first.CommandID)
	}
	found = list()
	if len(found["o-1"]) != 1 || len(found["o-2"]) != 2 || found["o-2"][1].CommandID != again.CommandID {
		t.Fatalf("after the redrive there are %+v", found)
	}
	shown := parseJSON[letter](t, letters(t, conn, ledgerline.ExitOK, "show", found["o-2"][1].ID, "-o", "json"))
	if len(shown.Headers) != 2 || shown.Headers[1].Name != "ce_causationid" || shown.Headers[1].Value != second.Position {
		t.Errorf("the new dead letter has headers %v", shown.Headers)
	}

	// The sender of the first has sent it again by itself, under its id.
	p.append(&kgo.Record{Topic: early.Topic, Key: early.Key, Value: early.Value, Headers: early.Headers})
	await(t, "the decision on it", func() error {
		for _, r := range p.read("order.outcomes") {
			if headerOf(r, "ce_commandid") == first.CommandID && headerOf(r, "ce_status") == "REFUSED" {
				return nil
			}
		}
		return errors.New("there is none yet")
	})
	if text := letters(t, conn, ledgerline.ExitFailed, "redrive", first.ID, "--yes"); !strings.Contains(text, "is not sent: its sender has sent it again") {
		t.Errorf("redriving what its sender has sent again: %s", text)
	}

	for _, id := range []string{"order.dead-letters/0@999", "cake.dead-letters/0@0", "order/1", "order-status:order/o-1"} {
		letters(t, conn, ledgerline.ExitMisuse, "show", id)
		letters(t, conn, ledgerline.ExitMisuse, "redrive", id, first.ID, "--yes")
	}
	if n := len(p.read(good.Topic)); n != 5 {
		t.Errorf("there are %d commands: with a wrong id, nothing is sent", n)
	}
}

// letters runs a verb of rebuild dead-letters, and returns what it prints.
func letters(t *testing.T, conn ledgerline.Connection, code int, args ...string) string {
	t.Helper()
	e := run(t, ledgerline.RunRebuild, conn, append([]string{"dead-letters"}, args...)...)
	if e.code != code {
		t.Fatalf("rebuild dead-letters %v: exit %d, want %d: %s%s", args, e.code, code, e.stdout, e.stderr)
	}
	return e.stdout
}

// newest returns the id of a subject's newest schema.
func (p *plain) newest(subject string) int {
	p.t.Helper()
	var newest struct{ ID int }
	p.ask("/subjects/"+subject+"/versions/latest", &newest)
	return newest.ID
}

// parseJSON reads one JSON text.
func parseJSON[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("reading %s: %v", text, err)
	}
	return v
}
