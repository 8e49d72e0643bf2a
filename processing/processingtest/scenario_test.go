package processingtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

// A jar is an aggregate small enough to show how domains are tested.
type (
	jar        struct{ Coins int64 }
	jarCommand interface{ jarCommand() }
	jarEvent   interface{ jarEvent() }
	AddCoins   struct{ Coins int64 }
	TakeCoins  struct{ Coins int64 }
	CoinsAdded struct {
		Jar   string
		Coins int64
		At    time.Time
	}
	CoinsTaken struct {
		Jar   string
		Coins int64
	}
)

func (AddCoins) jarCommand()  {}
func (TakeCoins) jarCommand() {}
func (CoinsAdded) jarEvent()  {}
func (CoinsTaken) jarEvent()  {}

func (c AddCoins) Validate() error {
	if c.Coins <= 0 {
		return &processing.FieldError{Field: "coins", Reason: "want 1 or more"}
	}
	return nil
}

var (
	errTooFew     = processing.Refuse("too-few-coins", processing.Conflict)
	errUndeclared = processing.Refuse("undeclared", processing.Conflict)

	jarDecider = processing.Decider[jar, jarCommand, jarEvent]{
		Aggregate:  "jar",
		Collection: "jars",
		Commands:   []processing.Type{processing.TypeOf[AddCoins](), processing.TypeOf[TakeCoins]()},
		Events:     []processing.Type{processing.TypeOf[CoinsAdded](), processing.TypeOf[CoinsTaken]()},
		Refusals:   []*processing.Refusal{errTooFew},
		Decide: func(in processing.Context, command jarCommand, state jar) ([]jarEvent, error) {
			switch c := command.(type) {
			case AddCoins:
				return []jarEvent{CoinsAdded{Jar: in.ID, Coins: c.Coins, At: in.At}}, nil
			case TakeCoins:
				if c.Coins > state.Coins {
					return nil, errTooFew.Because("%d of %d", c.Coins, state.Coins)
				}
				return []jarEvent{CoinsTaken{Jar: in.ID, Coins: c.Coins}}, nil
			}
			return nil, fmt.Errorf("unknown command %T", command)
		},
		Evolve: func(state jar, event jarEvent) jar {
			switch e := event.(type) {
			case CoinsAdded:
				state.Coins += e.Coins
			case CoinsTaken:
				state.Coins -= e.Coins
			}
			return state
		},
	}
	jars = processingtest.Scenario[jar, jarCommand, jarEvent]{Decider: jarDecider, ID: "j-1"}
)

// recorder is a test that notes what it is told. (Testing tests: on your side it is the t of a test.)
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func ExampleScenario() {
	t := &recorder{} // in a test: its *testing.T

	jars.Given(CoinsAdded{Jar: "j-1", Coins: 5}).
		When(TakeCoins{Coins: 3}).
		Then(t, CoinsTaken{Jar: "j-1", Coins: 3})
	jars.Given(CoinsAdded{Jar: "j-1", Coins: 5}).
		When(TakeCoins{Coins: 6}).
		ThenRefused(t, errTooFew)
	jars.Given().
		When(AddCoins{Coins: -1}).
		ThenInvalid(t, "Coins")

	fmt.Println(strings.Join(t.said, "\n"))
	// Output:
	// jar j-1
	//  given nothing
	//  when  AddCoins {"Coins":-1}
	//  got   invalid: coins: want 1 or more
	//  want  invalid: Coins
}

func ExampleScenario_Run() {
	test := func(t *testing.T) {
		jars.Run(t, []processingtest.Row[jarCommand, jarEvent]{
			{Name: "takes what is there", Given: []jarEvent{CoinsAdded{Coins: 5}}, When: TakeCoins{5}, Then: []jarEvent{CoinsTaken{"j-1", 5}}},
			{Name: "takes no more", Given: []jarEvent{CoinsAdded{Coins: 5}}, When: TakeCoins{6}, Refused: errTooFew},
			{Name: "adds nothing", When: AddCoins{0}, Invalid: "coins"},
		})
	}
	fmt.Println(testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "TestJar", F: test}}))
	// Output: true
}

func TestScenarioTellsRightFromWrong(t *testing.T) {
	five := CoinsAdded{Jar: "j-1", Coins: 5}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lax := jars
	lax.Decider.Refusals = nil
	lax.Decider.Events = lax.Decider.Events[:1]
	for _, c := range []struct {
		name string
		test func(t testing.TB)
		says string // "" if the test must pass
	}{
		{"events", func(t testing.TB) { jars.Given(five).When(TakeCoins{2}).Then(t, CoinsTaken{"j-1", 2}) }, ""},
		{"default time", func(t testing.TB) { jars.Given().When(AddCoins{2}).Then(t, CoinsAdded{"j-1", 2, at}) }, ""},
		{"other event", func(t testing.TB) { jars.Given(five).When(TakeCoins{2}).Then(t, CoinsTaken{"j-1", 3}) }, `want  CoinsTaken {"Jar":"j-1","Coins":3}`},
		{"no event wanted", func(t testing.TB) { jars.Given(five).When(TakeCoins{2}).Then(t) }, "want  nothing"},
		{"one too many wanted", func(t testing.TB) {
			jars.Given(five).When(TakeCoins{2}).Then(t, CoinsTaken{"j-1", 2}, CoinsTaken{"j-1", 2})
		}, "want  CoinsTaken"},
		{"refused, events wanted", func(t testing.TB) { jars.Given().When(TakeCoins{2}).Then(t, CoinsTaken{"j-1", 2}) }, "got   refused: too-few-coins: 2 of 0"},
		{"refused, nothing wanted", func(t testing.TB) { jars.Given().When(TakeCoins{2}).Then(t) }, "got   refused"},
		{"refused", func(t testing.TB) { jars.Given().When(TakeCoins{2}).ThenRefused(t, errTooFew) }, ""},
		{"other refusal", func(t testing.TB) { jars.Given().When(TakeCoins{2}).ThenRefused(t, errUndeclared) }, "want  refused: undeclared"},
		{"accepted, refusal wanted", func(t testing.TB) { jars.Given(five).When(TakeCoins{2}).ThenRefused(t, errTooFew) }, "got   CoinsTaken"},
		{"malformed", func(t testing.TB) { jars.Given().When(AddCoins{}).ThenInvalid(t, "coins") }, ""},
		{"malformed, nothing wanted", func(t testing.TB) { jars.Given().When(AddCoins{}).Then(t) }, "got   invalid"},
		{"malformed, refusal wanted", func(t testing.TB) { jars.Given().When(AddCoins{}).ThenRefused(t, errTooFew) }, "got   invalid"},
		{"well formed, malformed wanted", func(t testing.TB) { jars.Given().When(AddCoins{1}).ThenInvalid(t, "coins") }, "want  invalid: coins"},
		{"undeclared refusal", func(t testing.TB) { lax.Given().When(TakeCoins{2}).ThenRefused(t, errTooFew) }, "not among the Decider's Refusals"},
		{"undeclared event", func(t testing.TB) { lax.Given(five).When(TakeCoins{2}).Then(t, CoinsTaken{"j-1", 2}) }, "not among the Decider's Events"},
		{"undeclared command", func(t testing.TB) { jars.Given().When(&AddCoins{1}).Then(t) }, "not among the Decider's Commands"},
	} {
		r := &recorder{}
		c.test(r)
		if said := strings.Join(r.said, "\n"); (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
			t.Errorf("%s: want %q, it said\n%s", c.name, c.says, said)
		}
	}
}
