package ledgerline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
)

// sendLine is a line of a file for `ingest send`.
func sendLine(order, command string, data any, more ...string) string {
	l := map[string]any{"aggregate": "order", "id": order, "command": command, "data": data}
	for i := 0; i < len(more); i += 2 {
		l[more[i]] = more[i+1]
	}
	return jsonText(l)
}

func placeLine(order string, pence int64, more ...string) string {
	return sendLine(order, "PlaceOrder", map[string]any{"customer_id": "ada", "total_amount": gbp(pence)}, more...)
}

// writeLines writes a file of lines and returns its path.
func writeLines(t *testing.T, path string, all []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(all, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sent is what `ingest send -o json` prints.
type sent struct {
	Commands, Accepted, Refused, Failed, Repeated int64
}

// send sends a file, or what is given as standard input for "-".
func send(ctx context.Context, t *testing.T, conn ledgerline.Connection, file, stdin string, more ...string) (ended, sent) {
	t.Helper()
	args := append([]string{"send", file, "-o", "json", "--log-level", "warn"}, connectArgs(conn, more...)...)
	p := runWith(ctx, ledgerline.RunIngest, strings.NewReader(stdin), args...)
	var s sent
	if p.stdout != "" {
		if err := json.Unmarshal([]byte(p.stdout), &s); err != nil {
			t.Fatalf("sending printed %s: %v", p.stdout, err)
		}
	}
	return p, s
}

func TestSendFile(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	log, ctx := newPlain(t, l.Connection), t.Context()
	file := filepath.Join(t.TempDir(), "orders.jsonl")
	all := []string{
		placeLine("o-1", 100),
		"",
		sendLine("o-1", "receive-payment", map[string]any{"amount": gbp(99)}),
		sendLine("o-1", "ReceivePayment", map[string]any{"amount": gbp(100)}),
		placeLine("o-2", 200, "command_id", "mine"),
		placeLine("o-2", 200, "command_id", "mine"),
		placeLine("o-2", 201, "command_id", "mine"), // another command under the same id
	}
	writeLines(t, file, all)
	p, s := send(ctx, t, l.Connection, file, "")
	if want := (sent{Commands: 6, Accepted: 4, Refused: 1, Failed: 1, Repeated: 1}); s != want || p.code != ledgerline.ExitFailed {
		t.Errorf("got %+v, exit %d, want %+v, exit 1; %s", s, p.code, want, p.stderr)
	}
	if !strings.Contains(p.stderr, "line 3: ReceivePayment o-1: REFUSED amount-mismatch") ||
		!strings.Contains(p.stderr, "line 7: PlaceOrder o-2: ") {
		t.Errorf("told of %s", p.stderr)
	}
	before := fmt.Sprint(log.events())

	// All is sent; then from the start again: the same ids, so nothing is decided anew.
	if p, s = send(ctx, t, l.Connection, file, ""); s != (sent{}) || p.code != ledgerline.ExitOK || !strings.Contains(p.stderr, "going on after line 7") {
		t.Errorf("again: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	if p, s = send(ctx, t, l.Connection, file, "", "--restart"); s.Commands != 6 || s.Accepted != 4 || s.Repeated != 5 || p.code != ledgerline.ExitFailed {
		t.Errorf("with --restart: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	if after := fmt.Sprint(log.events()); after != before {
		t.Errorf("events changed from %s to %s", before, after)
	}

	// More lines at the end are sent; a change before is refused.
	writeLines(t, file, append(all, placeLine("o-3", 300)))
	if p, s = send(ctx, t, l.Connection, file, ""); s != (sent{Commands: 1, Accepted: 1}) || p.code != ledgerline.ExitOK {
		t.Errorf("with one line more: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	all[0] = placeLine("o-9", 100)
	writeLines(t, file, append(all, placeLine("o-3", 300), placeLine("o-4", 300)))
	if p, s = send(ctx, t, l.Connection, file, ""); s.Commands != 0 || p.code == ledgerline.ExitOK || !strings.Contains(p.stderr, "--name") || !strings.Contains(p.stderr, "--restart") {
		t.Errorf("a file that has changed: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	writeLines(t, file, all[:3])
	if p, s = send(ctx, t, l.Connection, file, ""); s.Commands != 0 || p.code == ledgerline.ExitOK || !strings.Contains(p.stderr, "--name") {
		t.Errorf("a file that got shorter: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	if types := log.events(); types["o-9"] != nil || types["o-4"] != nil {
		t.Error("a file that has changed was sent")
	}
}

func TestSendStandardInput(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	log, ctx := newPlain(t, l.Connection), t.Context()
	in := placeLine("o-1", 100) + "\n" + placeLine("o-2", 100)
	if p, s := send(ctx, t, l.Connection, "-", in); p.code != ledgerline.ExitMisuse || s.Commands != 0 || !strings.Contains(p.stderr, "--name") {
		t.Errorf("without a name: %+v, exit %d: %s", s, p.code, p.stderr)
	}
	for _, row := range []struct {
		name string
		want sent
	}{
		{"a", sent{Commands: 2, Accepted: 2}}, {"a", sent{Commands: 2, Accepted: 2, Repeated: 2}}, {"b", sent{Commands: 2, Refused: 2}},
	} {
		if p, s := send(ctx, t, l.Connection, "-", in, "--name", row.name); s != row.want || p.code != ledgerline.ExitOK {
			t.Errorf("name %s: got %+v, exit %d, want %+v: %s", row.name, s, p.code, row.want, p.stderr)
		}
	}
	for bad, want := range map[string]string{
		`{"aggregate":"order"`:                                "line 2: ",
		sendLine("o-5", "Eat", nil):                           `line 2: order has no command "Eat"`,
		sendLine("o/5", "ShipOrder", map[string]any{}):        "line 2: id: ",
		`{"aggregate":"cake","id":"x","command":"ShipOrder"}`: `line 2: no aggregate "cake"`,
		sendLine("o-5", "PlaceOrder", map[string]any{"customer_id": "ada", "total_amount": map[string]any{"minor_units": 1.5, "currency": "GBP"}}): "line 2: ",
		sendLine("o-5", "ShipOrder", map[string]any{}, "colour", "red"):                                                                            "line 2: ",
		placeLine("o-5", 1, "command_id", strings.Repeat("x", 300)):                                                                                "line 2: command_id: ",
	} {
		in := placeLine("o-4", 1) + "\n" + bad + "\n" + placeLine("o-6", 1)
		p, s := send(ctx, t, l.Connection, "-", in, "--name", "bad")
		if p.code == ledgerline.ExitOK || !strings.Contains(p.stderr, want) {
			t.Errorf("%s: %+v, exit %d: %s, want %s", bad, s, p.code, p.stderr, want)
		}
	}
	if types := log.events(); types["o-6"] != nil {
		t.Error("the line after a bad one was sent")
	}
	if p, _ := send(ctx, t, l.Connection, filepath.Join(t.TempDir(), "none"), ""); p.code != ledgerline.ExitMisuse || len(lines(p.stderr)) != 1 {
		t.Errorf("a file that is not there: exit %d: %s", p.code, p.stderr)
	}
}

// TestSendGoesOnAfterInterrupt interrupts a run in its middle: the next one sends the rest, and
// whatever was under way is not decided twice.
func TestSendGoesOnAfterInterrupt(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	log := newPlain(t, l.Connection)
	file := filepath.Join(t.TempDir(), "orders.jsonl")
	const orders = 10000
	all := make([]string, orders)
	for i := range all {
		all[i] = placeLine("o-"+itoa(i), int64(i+1))
	}
	writeLines(t, file, all)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	done := make(chan ended, 1)
	go func() {
		done <- runWith(ctx, ledgerline.RunIngest, nil, append([]string{"send", file, "-o", "json"}, connectArgs(l.Connection)...)...)
	}()
	await(t, "the first progress", func() error {
		_, err := os.Stat(file + ".progress")
		if errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	interrupt()
	cut := <-done
	var first sent
	if err := json.Unmarshal([]byte(cut.stdout), &first); err != nil {
		t.Fatalf("interrupted: %v: %s%s", err, cut.stdout, cut.stderr)
	}
	if cut.code != ledgerline.ExitFailed || first.Commands == 0 || first.Commands >= orders || !strings.Contains(cut.stderr, "interrupted; run it again") {
		t.Fatalf("interrupted: %+v, exit %d: %s", first, cut.code, cut.stderr)
	}
	p, s := send(t.Context(), t, l.Connection, file, "")
	if p.code != ledgerline.ExitOK || !strings.Contains(p.stderr, fmt.Sprintf("going on after line %d of", first.Commands)) {
		t.Errorf("going on: exit %d: %s", p.code, p.stderr)
	}
	if s.Commands != orders-first.Commands || s.Accepted != s.Commands || first.Accepted != first.Commands {
		t.Errorf("sent %+v, then %+v, want %d in all", first, s, orders)
	}
	t.Logf("interrupted after %d, of the other %d %d were decided already", first.Commands, s.Commands, s.Repeated)
	checkOnce(t, log, orders)
}

// TestProvision applies twice; diff and check say what is missing before, and nothing afterwards.
func TestProvision(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	for _, step := range []struct {
		verb   string
		args   []string
		code   int
		stdout string
	}{
		{"check", nil, 1, "order.events"},
		{"diff", nil, 0, "order.events"},
		{"check", nil, 1, "order.events"}, // diff has changed nothing
		{"apply", []string{"--partitions", "4"}, 0, "order.commands-ledgerline.order.PlaceOrder"},
		{"apply", nil, 0, "nothing to do"},
		{"diff", nil, 0, "no difference"},
		{"check", nil, 0, "no difference"},
		{"check", []string{"--partitions", "5"}, 1, "order.events"},
		{"apply", []string{"--partitions", "5"}, 1, ""},
		{"check", nil, 0, "no difference"},
		{"check", []string{"--prefix", "other."}, 1, "other.order.events"},
		{"apply", []string{"--prefix", "other.", "--partitions", "3"}, 0, "other.order.events"},
		{"check", []string{"--prefix", "other."}, 0, "no difference"},
	} {
		p := run(t, ledgerline.RunProvision, conn, append([]string{step.verb}, step.args...)...)
		if p.code != step.code || !strings.Contains(p.stdout, step.stdout) {
			t.Errorf("%s %v: exit %d, want %d with %q:\n%s%s", step.verb, step.args, p.code, step.code, step.stdout, p.stdout, p.stderr)
		}
		if step.stdout == "" && len(lines(p.stderr)) == 0 {
			t.Errorf("%s %v says nothing of what is wrong", step.verb, step.args)
		}
	}
	var changes []map[string]any
	p := run(t, ledgerline.RunProvision, conn, "diff", "-o", "json", "--prefix", "third.")
	if err := json.Unmarshal([]byte(p.stdout), &changes); err != nil || len(changes) < 4 || p.code != ledgerline.ExitOK {
		t.Errorf("as JSON: exit %d, %v: %s", p.code, err, p.stdout)
	}
	p = run(t, ledgerline.RunProvision, conn, "diff", "-o", "json")
	if err := json.Unmarshal([]byte(p.stdout), &changes); err != nil || len(changes) != 0 {
		t.Errorf("as JSON, no difference: %v: %s", err, p.stdout)
	}
	log := newPlain(t, conn)
	if n := log.partitions("order.events"); n != 4 {
		t.Errorf("order.events has %d partitions, want 4", n)
	}
	if n := log.partitions("other.order.events"); n != 3 {
		t.Errorf("other.order.events has %d partitions, want 3", n)
	}
}
