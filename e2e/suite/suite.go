// Package suite is the end-to-end suite: what Ledgerline promises, asked from outside of its own binaries
// on whatever services a stack has. It talks to them as their users do, over HTTP and with Kafka and
// Redis clients of its own, and recomputes from the log what the read models must show.
//
// It owns the binaries that it starts, unless they run elsewhere, and the commands that it sends. It
// imports nothing of the product: a mistake there cannot hide itself here.
package suite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// patience is how long anything may take to come true on a busy machine.
const patience = 90 * time.Second

// Result is how a run of the suite went.
type Result struct {
	// Stack is what the services were run by.
	Stack string `json:"stack"`
	stack.Versions
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// suite is one run.
type suite struct {
	stack  *stack.Stack
	system System
	kafka  *plain
	// run sets what this run writes apart from what others have written to the same topics.
	run string
	// placed holds the orders that were answered with 201, by id.
	placed map[string]placed
}

// placed is what an order must be: whose, for how much, and as of which position ("" if nobody told one).
type placed struct {
	customer string
	pence    int64
	position string
}

// cases are run in this order, one after the other, since the later ones end and restart what the others need.
var cases = []struct {
	name string
	run  func(*testing.T, *suite)
}{
	{"Provisioned", provisioned},
	{"HTTP", overHTTP},
	{"Refusals", refusals},
	{"EveryWayIn", everyWayIn},
	{"DeadLetter", deadLetter},
	{"SameKeyAtOnce", sameKeyAtOnce},
	{"ReadYourWrites", readYourWrites},
	{"EventsByAggregate", eventsByAggregate},
	{"SendFile", sendFile},
	{"RebuildAndPromote", rebuildAndPromote},
	{"AlteredDocumentIsFound", alteredDocumentIsFound},
	{"StartsAreRefused", startsAreRefused},
	{"IngestRestarts", ends(Ingest, stack.Restart)},
	{"IngestIsKilled", ends(Ingest, stack.Kill)},
	{"ProcessorRestarts", ends(Processor, stack.Restart)},
	{"ProcessorIsKilled", ends(Processor, stack.Kill)},
	{"RegistryRestarts", serviceEnds(stack.Registry, stack.Restart)},
	{"RedisRestarts", serviceEnds(stack.Redis, stack.Restart)},
	{"RedisIsWiped", redisIsWiped},
	{"BrokersRestart", brokersEnd(stack.Restart)},
	{"BrokersAreKilled", brokersEnd(stack.Kill)},
	{"EverythingAddsUp", everythingAddsUp},
}

// Run runs the suite on the services of s, with the binaries of this checkout or, where the environment
// names their addresses, with those that run there. The result goes to the file LEDGERLINE_E2E_RESULT, if
// that is set, as one line of JSON.
func Run(t *testing.T, s *stack.Stack) {
	// native:1 is native.
	kind := strings.TrimSuffix(os.Getenv("LEDGERLINE_E2E_STACK"), ":1")
	result := Result{Stack: cmp.Or(kind, string(s.Provider)), Versions: s.Versions}
	defer func() {
		if t.Failed() && result.Failed == 0 {
			result.Failed = 1 // before the first case
		}
		if err := result.write(); err != nil {
			t.Error(err)
		}
	}()
	u := &suite{stack: s, run: runID(), placed: map[string]placed{}}
	u.system = startSystem(t, s, u.run)
	u.kafka = newPlain(t, s, u.system.Prefix())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				switch {
				case t.Failed():
					result.Failed++
				case t.Skipped():
					result.Skipped++
				default:
					result.Passed++
				}
			}()
			c.run(t, u)
		})
	}
}

func (r Result) write() error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := os.Getenv("LEDGERLINE_E2E_RESULT")
	if name == "" {
		return nil
	}
	if err := os.WriteFile(name, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

func runID() string { return fmt.Sprintf("%x", time.Now().UnixMilli()) }

// id returns a name of this run's own.
func (u *suite) id(format string, a ...any) string { return fmt.Sprintf(format, a...) + "-" + u.run }

// topic returns the name of a topic.
func (u *suite) topic(name string) string { return u.system.Prefix() + name }

// must runs a verb of a binary, which must exit 0, and returns what it printed.
func (u *suite) must(t *testing.T, binary string, args ...string) string {
	t.Helper()
	e := u.end(t, nil, binary, args...)
	if e.Code != 0 {
		t.Fatalf("%s %v: exit %d\n%s%s", binary, args, e.Code, e.Stdout, e.Stderr)
	}
	return e.Stdout
}

// end runs a verb of a binary to its end.
func (u *suite) end(t *testing.T, stdin []byte, binary string, args ...string) Ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	e, err := u.system.Run(ctx, stdin, binary, args...)
	if err != nil {
		t.Fatalf("running %s %v: %v", binary, args, err)
	}
	return e
}

// await calls try until it returns nil.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	if err := awaitErr(t.Context(), what, try); err != nil {
		t.Fatal(err)
	}
}

// awaitErr is await for any goroutine.
func awaitErr(ctx context.Context, what string, try func() error) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-deadline.C:
			return fmt.Errorf("%s did not come to pass in %s: %w", what, patience, err)
		}
	}
}
