package ledgerline_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/schemas"
)

// act is a command with its fields as JSON has them.
type act struct {
	command string
	data    map[string]any
}

// on returns the act as it is sent to the aggregate of that id: every order has a customer of its own.
func (a act) on(id string) act {
	if a.command == "PlaceOrder" {
		a.data = maps.Clone(a.data)
		a.data["customer_id"] = customerOf(id)
	}
	return a
}

func customerOf(order string) string { return "c-" + order }

// rule is what becomes of a command, whichever way it comes in.
type rule struct {
	name      string
	aggregate string // set by rules
	given     []act  // accepted before, in this order
	when      act
	status    int    // over HTTP
	code      string // "" if it is accepted
	// shown holds what the aggregate's document has afterwards, customer what that of its customer has.
	shown, customer string
}

// eventOf is the event that each command leads to.
var eventOf = map[string]string{
	"CreateAccount": "AccountCreated", "DepositMoney": "MoneyDeposited", "WithdrawMoney": "MoneyWithdrawn", "CloseAccount": "AccountClosed",
	"PlaceOrder": "OrderPlaced", "ReceivePayment": "PaymentReceived", "ShipOrder": "OrderShipped", "CancelOrder": "OrderCancelled",
	"CreateOrder": "OrderCreated", "AuthorizePayment": "PaymentAuthorized", "CapturePayment": "PaymentCaptured", "IssueRefund": "RefundIssued",
}

func (r rule) accepted() bool { return r.code == "" }

// events returns the types of the aggregate's events afterwards, and so its version.
func (r rule) events() []string {
	var types []string
	for _, a := range r.given {
		types = append(types, eventOf[a.command])
	}
	if r.accepted() {
		types = append(types, eventOf[r.when.command])
	}
	return types
}

func rules() []rule {
	var all []rule
	for aggregate, list := range map[string][]rule{"account": accountRules(), "order": orderRules(), "payment": paymentRules()} {
		for _, r := range list {
			r.aggregate = aggregate
			all = append(all, r)
		}
	}
	return all
}

// id returns the id of the aggregate on which the rule is tried by a way.
func (r rule) id(way string) string {
	return r.aggregate + "-" + strings.ReplaceAll(r.name, " ", "-") + "-" + way
}

func accountRules() []rule {
	amount := func(units int64, currency string) map[string]any {
		return map[string]any{"amount": map[string]any{"minor_units": units, "currency": currency}}
	}
	opening := func(units int64) act {
		return act{"CreateAccount", map[string]any{"account_name": "Ada", "initial_balance": gbp(units)}}
	}
	create, closing := opening(1000), act{"CloseAccount", map[string]any{}}
	deposit, withdraw := act{"DepositMoney", amount(500, "GBP")}, act{"WithdrawMoney", amount(400, "GBP")}
	open, closed := []act{create}, []act{opening(0), closing}
	return []rule{
		{name: "opened", when: create, status: 201, shown: `{"name":"Ada","balance":{"minor_units":1000,"currency":"GBP"},"status":"open","version":1}`},
		{name: "opened with nothing", when: opening(0), status: 201, shown: `{"balance":{"minor_units":0,"currency":"GBP"},"status":"open"}`},
		{name: "opened twice", given: open, when: create, status: 409, code: "account-exists"},
		{name: "opened once closed", given: closed, when: create, status: 409, code: "account-exists"},
		{name: "opened with a debt", when: opening(-1), status: 422, code: "negative-amount"},

		{name: "paid in", given: open, when: deposit, status: 201, shown: `{"balance":{"minor_units":1500,"currency":"GBP"},"status":"open","version":2}`},
		{name: "paid into nothing", when: deposit, status: 404, code: "account-not-found"},
		{name: "paid in once closed", given: closed, when: deposit, status: 409, code: "account-closed"},
		{name: "paid in nothing", given: open, when: act{"DepositMoney", amount(0, "GBP")}, status: 422, code: "amount-not-positive"},
		{name: "paid in less than nothing", given: open, when: act{"DepositMoney", amount(-5, "GBP")}, status: 422, code: "amount-not-positive"},
		{name: "paid in euros", given: open, when: act{"DepositMoney", amount(5, "EUR")}, status: 422, code: "currency-mismatch"},

		{name: "taken out", given: []act{create, deposit}, when: withdraw, status: 201, shown: `{"balance":{"minor_units":1100,"currency":"GBP"},"version":3}`},
		{name: "all taken out", given: open, when: act{"WithdrawMoney", amount(1000, "GBP")}, status: 201, shown: `{"balance":{"minor_units":0,"currency":"GBP"},"status":"open"}`},
		{name: "taken from nothing", when: withdraw, status: 404, code: "account-not-found"},
		{name: "taken out once closed", given: closed, when: withdraw, status: 409, code: "account-closed"},
		{name: "nothing taken out", given: open, when: act{"WithdrawMoney", amount(0, "GBP")}, status: 422, code: "amount-not-positive"},
		{name: "taken out in euros", given: open, when: act{"WithdrawMoney", amount(5, "EUR")}, status: 422, code: "currency-mismatch"},
		{name: "overdrawn", given: open, when: act{"WithdrawMoney", amount(1001, "GBP")}, status: 409, code: "insufficient-funds"},

		{name: "closed", given: []act{opening(400), withdraw}, when: closing, status: 201, shown: `{"balance":{"minor_units":0,"currency":"GBP"},"status":"closed","version":3}`},
		{name: "nothing closed", when: closing, status: 404, code: "account-not-found"},
		{name: "closed twice", given: closed, when: closing, status: 409, code: "account-closed"},
		{name: "closed with money", given: open, when: closing, status: 409, code: "balance-not-zero"},
	}
}

func orderRules() []rule {
	placing := func(units int64) act { return act{"PlaceOrder", map[string]any{"total_amount": gbp(units)}} }
	paying := func(units int64, currency string) act {
		return act{"ReceivePayment", map[string]any{"amount": map[string]any{"minor_units": units, "currency": currency}}}
	}
	place, pay, ship := placing(1250), paying(1250, "GBP"), act{"ShipOrder", map[string]any{}}
	cancel := act{"CancelOrder", map[string]any{"reason": "changed my mind"}}
	old := act{"PlaceOrder", map[string]any{"total_amount": gbp(900), "discount": gbp(100), "placed_at": "2011-12-09T12:50:00Z"}}
	placed, paid, shipped, cancelled := []act{place}, []act{place, pay}, []act{place, pay, ship}, []act{place, cancel}
	const spent, nothing = `"currencies":[{"currency":"GBP","orders":1,"total_spent":1250}]`, `"currencies":[{"currency":"GBP","orders":0,"total_spent":0}]`
	return []rule{
		{name: "placed", when: place, status: 201,
			shown:    `{"status":"placed","amount":{"minor_units":1250,"currency":"GBP"},"version":1}`,
			customer: `{` + spent + `,"statuses":{"placed":1,"paid":0,"shipped":0,"cancelled":0}}`},
		{name: "placed long ago", when: old, status: 201,
			shown:    `{"status":"placed","amount":{"minor_units":900,"currency":"GBP"},"discount":{"minor_units":100,"currency":"GBP"},"placed_at":"2011-12-09T12:50:00Z"}`,
			customer: `{"currencies":[{"currency":"GBP","orders":1,"total_spent":900}]}`},
		{name: "placed twice", given: placed, when: place, status: 409, code: "order-exists"},
		{name: "placed once cancelled", given: cancelled, when: place, status: 409, code: "order-exists"},
		{name: "placed for nothing", when: placing(0), status: 422, code: "amount-not-positive"},

		{name: "paid", given: placed, when: pay, status: 201, shown: `{"status":"paid","version":2}`,
			customer: `{` + spent + `,"statuses":{"placed":0,"paid":1,"shipped":0,"cancelled":0}}`},
		{name: "nothing paid for", when: pay, status: 404, code: "order-not-found"},
		{name: "paid twice", given: paid, when: pay, status: 409, code: "order-not-placed"},
		{name: "paid once cancelled", given: cancelled, when: pay, status: 409, code: "order-not-placed"},
		{name: "paid too little", given: placed, when: paying(1249, "GBP"), status: 409, code: "amount-mismatch"},
		{name: "paid in euros", given: placed, when: paying(1250, "EUR"), status: 409, code: "amount-mismatch"},

		{name: "shipped", given: paid, when: ship, status: 201, shown: `{"status":"shipped","version":3}`,
			customer: `{` + spent + `,"statuses":{"placed":0,"paid":0,"shipped":1,"cancelled":0}}`},
		{name: "nothing shipped", when: ship, status: 404, code: "order-not-found"},
		{name: "shipped unpaid", given: placed, when: ship, status: 409, code: "order-not-paid"},
		{name: "shipped twice", given: shipped, when: ship, status: 409, code: "order-not-paid"},
		{name: "shipped once cancelled", given: cancelled, when: ship, status: 409, code: "order-not-paid"},

		{name: "cancelled", given: placed, when: cancel, status: 201, shown: `{"status":"cancelled","reason":"changed my mind","version":2}`,
			customer: `{` + nothing + `,"statuses":{"placed":0,"paid":0,"shipped":0,"cancelled":1}}`},
		{name: "cancelled once paid", given: paid, when: cancel, status: 201, shown: `{"status":"cancelled","version":3}`,
			customer: `{` + nothing + `,"statuses":{"placed":0,"paid":0,"shipped":0,"cancelled":1}}`},
		{name: "nothing cancelled", when: cancel, status: 404, code: "order-not-found"},
		{name: "cancelled once shipped", given: shipped, when: cancel, status: 409, code: "order-already-shipped"},
		{name: "cancelled twice", given: cancelled, when: cancel, status: 409, code: "order-already-cancelled"},
	}
}

func paymentRules() []rule {
	create := act{"CreateOrder", map[string]any{"amount": gbp(2000)}}
	does := func(command, paymentID string, units int64) act {
		return act{command, map[string]any{"payment_id": paymentID, "amount": gbp(units)}}
	}
	authorize, capture := does("AuthorizePayment", "pay-1", 2000), does("CapturePayment", "pay-1", 2000)
	part, rest, all := does("IssueRefund", "pay-1", 500), does("IssueRefund", "pay-1", 1500), does("IssueRefund", "pay-1", 2000)
	created, authorized, captured := []act{create}, []act{create, authorize}, []act{create, authorize, capture}
	refunded := append(slices.Clone(captured), all)
	amounts := func(authorized, captured, refunded int64) string {
		return fmt.Sprintf(`"authorized_amount":%s,"captured_amount":%s,"refunded_amount":%s`, jsonText(gbp(authorized)), jsonText(gbp(captured)), jsonText(gbp(refunded)))
	}
	return []rule{
		{name: "created", when: create, status: 201, shown: `{"status":"pending","amount":{"minor_units":2000,"currency":"GBP"},` + amounts(0, 0, 0) + `,"version":1}`},
		{name: "created twice", given: created, when: create, status: 409, code: "order-exists"},
		{name: "created for nothing", when: act{"CreateOrder", map[string]any{"amount": gbp(0)}}, status: 422, code: "amount-not-positive"},

		{name: "authorized", given: created, when: authorize, status: 201, shown: `{"status":"authorized","payment_id":"pay-1",` + amounts(2000, 0, 0) + `,"version":2}`},
		{name: "nothing authorized", when: authorize, status: 404, code: "order-not-found"},
		{name: "authorized twice", given: authorized, when: authorize, status: 409, code: "not-new"},
		{name: "authorized too much", given: created, when: does("AuthorizePayment", "pay-1", 2001), status: 409, code: "amount-mismatch"},

		{name: "captured", given: authorized, when: capture, status: 201, shown: `{"status":"captured",` + amounts(2000, 2000, 0) + `,"version":3}`},
		{name: "nothing captured", when: capture, status: 404, code: "order-not-found"},
		{name: "captured too early", given: created, when: capture, status: 409, code: "not-authorized"},
		{name: "captured twice", given: captured, when: capture, status: 409, code: "not-authorized"},
		{name: "another captured", given: authorized, when: does("CapturePayment", "pay-2", 2000), status: 409, code: "payment-mismatch"},
		{name: "captured in part", given: authorized, when: does("CapturePayment", "pay-1", 1999), status: 409, code: "amount-mismatch"},

		{name: "refunded", given: captured, when: all, status: 201, shown: `{"status":"refunded",` + amounts(2000, 2000, 2000) + `,"version":4}`},
		{name: "refunded in part", given: captured, when: part, status: 201, shown: `{"status":"captured",` + amounts(2000, 2000, 500) + `,"version":4}`},
		{name: "refunded in parts", given: append(slices.Clone(captured), part), when: rest, status: 201, shown: `{"status":"refunded",` + amounts(2000, 2000, 2000) + `,"version":5}`},
		{name: "nothing refunded", when: all, status: 404, code: "order-not-found"},
		{name: "refunded too early", given: authorized, when: all, status: 409, code: "not-captured"},
		{name: "refunded again", given: refunded, when: part, status: 409, code: "not-captured"},
		{name: "another refunded", given: captured, when: does("IssueRefund", "pay-2", 500), status: 409, code: "payment-mismatch"},
		{name: "refunded too much", given: append(slices.Clone(captured), part), when: does("IssueRefund", "pay-1", 1501), status: 409, code: "refund-exceeds-capture"},
	}
}

// noRegistry is a registry that nobody may ask.
type noRegistry struct{ schemas.Registry }

// TestEveryDecisionHasARule asks the domain for every command of the rules in every state that they lead
// to: each pair of command and refusal that comes of it has a rule, and so has each that is declared.
func TestEveryDecisionHasARule(t *testing.T) {
	t.Parallel()
	bindings, err := processing.Bindings(testApp.Schemas, testApp.Aggregates)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := schemas.NewCodec(noRegistry{}, bindings...)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range testApp.Aggregates {
		var pool []any
		ruled, known := map[string]bool{}, map[string]bool{}
		for _, r := range rules() {
			if r.aggregate != a.Name {
				continue
			}
			ruled[r.when.command+" "+r.code], ruled[r.code] = true, true
			for _, one := range append(slices.Clone(r.given), r.when) {
				text := jsonText(one.on("x").data)
				command, err := codec.FromJSON("ledgerline."+a.Name+"."+one.command, []byte(text))
				if err != nil {
					t.Fatalf("%s: %s %s: %v", r.name, one.command, text, err)
				}
				if !known[one.command+text] {
					known[one.command+text] = true
					pool = append(pool, command)
				}
			}
		}
		for _, r := range a.Refusals {
			if !ruled[r.Code] {
				t.Errorf("%s declares the refusal %s, which no rule meets", a.Name, r.Code)
			}
		}
		var met map[string]bool
		switch a.Name {
		case "account":
			met = explore(t, account.Decider, pool)
		case "order":
			met = explore(t, order.Decider, pool)
		case "payment":
			met = explore(t, payment.Decider, pool)
		}
		for _, c := range a.Commands {
			if !met[c.Name+" "] {
				t.Errorf("%s of %s is never accepted", c.Name, a.Name)
			}
		}
		for pair := range met {
			if !ruled[pair] {
				t.Errorf("%s: %q (command and refusal) has no rule", a.Name, pair)
			}
		}
	}
}

// explore returns what the domain says to the commands in every state that a few of them lead to, as
// "command code".
func explore[S comparable, C, E any](t *testing.T, d processing.Decider[S, C, E], pool []any) map[string]bool {
	t.Helper()
	met, states := map[string]bool{}, map[S]bool{*new(S): true}
	for range 6 { // longer than the way to any state that differs in kind
		for s := range maps.Clone(states) {
			for _, command := range pool {
				events, err := d.Decide(processing.Context{ID: "x"}, command.(C), s)
				refusal, refused := errors.AsType[*processing.Refusal](err)
				if err != nil && !refused {
					t.Fatalf("%T: %v", command, err)
				}
				code := ""
				if refused {
					code = refusal.Code
				}
				met[reflect.TypeOf(command).Name()+" "+code] = true
				after := s
				for _, e := range events {
					after = d.Evolve(after, e)
				}
				states[after] = true
			}
		}
	}
	return met
}

// TestRulesOverHTTP tries every rule over HTTP.
func TestRulesOverHTTP(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c := newAPI(t, l.URL)
	var group errgroup.Group
	group.SetLimit(16)
	for _, r := range rules() {
		group.Go(func() error {
			id := r.id("http")
			for _, one := range r.given {
				if a, err := postAct(c, r.aggregate, id, one); err != nil || a.Status != http.StatusCreated {
					return fmt.Errorf("%s: before it, %s: %d %s, %w", id, one.command, a.Status, a.Body, err)
				}
			}
			a, err := postAct(c, r.aggregate, id, r.when)
			if err != nil {
				return err
			}
			d := a.decided(t)
			if a.Status != r.status || d.Code != r.code {
				return fmt.Errorf("%s: %d %s, want %d %s", id, a.Status, a.Body, r.status, r.code)
			}
			if !r.accepted() {
				return nil
			}
			want := len(r.events())
			if d.Version != int64(want) || d.Aggregate != r.aggregate || d.ID != id || len(d.Events) != 1 || d.Events[0].Type != eventOf[r.when.command] ||
				d.Events[0].Version != int64(want) || a.Header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprint(want)) {
				return fmt.Errorf("%s: %s with ETag %s, want version %d and one event", id, a.Body, a.Header.Get("ETag"), want)
			}
			return checkShown(c, r, id, a.position())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	checkHistory(t, l, c, "http")
}

func postAct(c *api, aggregate, id string, one act) (answer, error) {
	return c.try(http.MethodPost, "/v1/"+aggregate+"s/"+id+"/"+processing.KebabCase(one.command), jsonText(one.on(id).data))
}
