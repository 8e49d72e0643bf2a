package accountbalance

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

var (
	created   = account.AccountCreated{AccountID: "a-1", AccountName: "Zoë's \"savings\"", InitialBalance: gbp(1000)}
	deposited = account.MoneyDeposited{AccountID: "a-1", Amount: gbp(250)}
	withdrawn = account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(1250)}
	closed    = account.AccountClosed{AccountID: "a-1"}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

// foldAll folds events, keeping Version as the engine does.
func foldAll(events ...any) (AccountBalance, error) {
	var doc AccountBalance
	for i, data := range events {
		e := processing.Event{
			Aggregate: "account", AggregateID: "a-1", Type: reflect.TypeOf(data).Name(), Data: data, Version: int64(i + 1),
		}
		if err := ReadModel.Fold(&doc, e); err != nil {
			return doc, err
		}
		doc.Version = e.Version
	}
	return doc, nil
}

func TestDocumentAfterEachEvent(t *testing.T) {
	const about = `"account_id":"a-1","name":"Zoë's \"savings\"",`
	for _, c := range []struct {
		name   string
		events []any
		want   string
	}{
		{"created", []any{created}, `{"version":1,` + about + `"balance":{"minor_units":1000,"currency":"GBP"},"status":"open"}`},
		{"deposited", []any{created, deposited}, `{"version":2,` + about + `"balance":{"minor_units":1250,"currency":"GBP"},"status":"open"}`},
		{"withdrawn", []any{created, deposited, withdrawn}, `{"version":3,` + about + `"balance":{"minor_units":0,"currency":"GBP"},"status":"open"}`},
		{"closed", []any{created, deposited, withdrawn, closed}, `{"version":4,` + about + `"balance":{"minor_units":0,"currency":"GBP"},"status":"closed"}`},
	} {
		doc, err := foldAll(c.events...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := json.Marshal(doc)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, text, err, c.want)
		}
		var back AccountBalance
		if err := json.Unmarshal(text, &back); err != nil || back != doc {
			t.Errorf("%s: read back: %+v, %v", c.name, back, err)
		}
	}
}

func TestEventsThatCannotBeApplied(t *testing.T) {
	euros := processing.Money{MinorUnits: 1, Currency: "EUR"}
	for _, c := range []struct {
		events []any
		want   string
	}{
		{[]any{deposited}, "MoneyDeposited before it was created"},
		{[]any{withdrawn}, "MoneyWithdrawn before it was created"},
		{[]any{closed}, "AccountClosed before it was created"},
		{[]any{created, created}, "created twice"},
		{[]any{created, account.MoneyDeposited{AccountID: "a-1", Amount: euros}}, "MoneyDeposited of 1 EUR, the account is in GBP"},
		{[]any{created, account.MoneyWithdrawn{AccountID: "a-1", Amount: euros}}, "MoneyWithdrawn of 1 EUR, the account is in GBP"},
		{[]any{created, struct{}{}}, "unknown event"},
	} {
		if doc, err := foldAll(c.events...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v and %+v", c.want, err, doc)
		}
	}
}

// TestShowsWhatTheDomainHolds folds what the domain appends and compares with the domain's own state.
func TestShowsWhatTheDomainHolds(t *testing.T) {
	statuses := map[account.Status]string{account.Open: "open", account.Closed: "closed"}
	commands := rapid.Custom(func(t *rapid.T) account.Command {
		amount := gbp(rapid.Int64Range(0, 3).Draw(t, "amount"))
		switch rapid.IntRange(0, 4).Draw(t, "command") {
		case 0:
			return account.CreateAccount{AccountName: "n", InitialBalance: amount}
		case 1:
			return account.CloseAccount{}
		case 2:
			return account.WithdrawMoney{Amount: amount}
		default:
			return account.DepositMoney{Amount: amount}
		}
	})
	log := processingtest.Log(account.Decider, commands)
	seen := map[account.Status]bool{}
	rapid.Check(t, func(t *rapid.T) {
		docs, states := map[string]AccountBalance{}, map[string]account.State{}
		for _, e := range log.Draw(t, "log") {
			doc := docs[e.AggregateID]
			if err := ReadModel.Fold(&doc, e); err != nil {
				t.Fatal(err)
			}
			state := account.Decider.Evolve(states[e.AggregateID], e.Data.(account.Event))
			docs[e.AggregateID], states[e.AggregateID] = doc, state
			if doc.AccountID != e.AggregateID || doc.Balance != state.Balance || doc.Status != statuses[state.Status] {
				t.Fatalf("after %+v: document %+v, domain %+v", e.Data, doc, state)
			}
			seen[state.Status] = true
		}
	})
	if len(seen) != len(statuses) {
		t.Errorf("only the statuses %v were reached", seen)
	}
}

func TestReadModelIsWhole(t *testing.T) {
	m := ReadModel.Erase() // panics if a part is missing
	if m.Name != "account-balance" || m.Collection != account.Decider.Collection || !m.KeyedAsEvents || m.Buckets(12) != 12 || m.Aggregates[0] != account.Decider.Aggregate {
		t.Errorf("got %+v", m)
	}
}
