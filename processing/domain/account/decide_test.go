package account_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type row = processingtest.Row[account.Command, account.Event]

var (
	scenario = processingtest.Scenario[account.State, account.Command, account.Event]{Decider: account.Decider, ID: "a-1"}

	created   = account.AccountCreated{AccountID: "a-1", AccountName: "Savings", InitialBalance: gbp(1000)}
	deposited = account.MoneyDeposited{AccountID: "a-1", Amount: gbp(250)}
	withdrawn = account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(250)}
	emptied   = account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(1000)}
	closed    = account.AccountClosed{AccountID: "a-1"}

	create       = account.CreateAccount{AccountName: "Savings", InitialBalance: gbp(1000)}
	deposit      = account.DepositMoney{Amount: gbp(250)}
	withdraw     = account.WithdrawMoney{Amount: gbp(250)}
	closeAccount = account.CloseAccount{}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

func eur(cents int64) processing.Money { return processing.Money{MinorUnits: cents, Currency: "EUR"} }

// histories leads to each status; an open account that holds money is told from one that does not.
var histories = map[string][]account.Event{
	"none":   nil,
	"open":   {created},
	"empty":  {created, emptied},
	"closed": {created, emptied, closed},
}

// matrix says for every command in every status what comes of it: a refusal or an event.
var matrix = map[string]map[account.Command]any{
	"none": {
		create: created, deposit: account.ErrAccountNotFound, withdraw: account.ErrAccountNotFound, closeAccount: account.ErrAccountNotFound,
	},
	"open": {
		create: account.ErrAccountExists, deposit: deposited, withdraw: withdrawn, closeAccount: account.ErrBalanceNotZero,
	},
	"empty": {
		create: account.ErrAccountExists, deposit: deposited, withdraw: account.ErrInsufficientFunds, closeAccount: closed,
	},
	"closed": {
		create: account.ErrAccountExists, deposit: account.ErrAccountClosed, withdraw: account.ErrAccountClosed, closeAccount: account.ErrAccountClosed,
	},
}

func TestEveryCommandInEveryStatus(t *testing.T) {
	processingtest.RunMatrix(t, scenario, processingtest.Matrix[account.Command, account.Event]{
		Histories: histories, Outcomes: matrix,
		Elsewhere: []*processing.Refusal{account.ErrNegativeAmount, account.ErrAmountNotPositive, account.ErrCurrencyMismatch},
	})
}

func TestCreateAccount(t *testing.T) {
	nothing := account.CreateAccount{AccountName: "Savings", InitialBalance: gbp(0)}
	scenario.Run(t, []row{
		{
			Name: "with nothing in it", When: nothing,
			Then: []account.Event{account.AccountCreated{AccountID: "a-1", AccountName: "Savings", InitialBalance: gbp(0)}},
		},
		{Name: "with debts", When: account.CreateAccount{AccountName: "Savings", InitialBalance: gbp(-1)}, Refused: account.ErrNegativeAmount},
		{
			Name: "an account that exists is told so before its balance is looked at", Given: histories["open"],
			When: account.CreateAccount{AccountName: "Savings", InitialBalance: gbp(-1)}, Refused: account.ErrAccountExists,
		},
	})
}

func TestDepositMoney(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "nothing", Given: histories["open"], When: account.DepositMoney{Amount: gbp(0)}, Refused: account.ErrAmountNotPositive},
		{Name: "less than nothing", Given: histories["open"], When: account.DepositMoney{Amount: gbp(-1)}, Refused: account.ErrAmountNotPositive},
		{Name: "other currency", Given: histories["open"], When: account.DepositMoney{Amount: eur(1)}, Refused: account.ErrCurrencyMismatch},
		{Name: "other currency into an empty account", Given: histories["empty"], When: account.DepositMoney{Amount: eur(1)}, Refused: account.ErrCurrencyMismatch},
		{Name: "the sign comes before the currency", Given: histories["open"], When: account.DepositMoney{Amount: eur(0)}, Refused: account.ErrAmountNotPositive},
		{Name: "a closed account is told so before the amount is looked at", Given: histories["closed"], When: account.DepositMoney{Amount: gbp(0)}, Refused: account.ErrAccountClosed},
	})
}

func TestWithdrawMoney(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "nothing", Given: histories["open"], When: account.WithdrawMoney{Amount: gbp(0)}, Refused: account.ErrAmountNotPositive},
		{Name: "less than nothing", Given: histories["open"], When: account.WithdrawMoney{Amount: gbp(-1)}, Refused: account.ErrAmountNotPositive},
		{Name: "other currency", Given: histories["open"], When: account.WithdrawMoney{Amount: eur(1)}, Refused: account.ErrCurrencyMismatch},
		{Name: "the currency comes before the funds", Given: histories["open"], When: account.WithdrawMoney{Amount: eur(1001)}, Refused: account.ErrCurrencyMismatch},
		{Name: "a closed account is told so before the amount is looked at", Given: histories["closed"], When: account.WithdrawMoney{Amount: gbp(0)}, Refused: account.ErrAccountClosed},
		{Name: "one too many", Given: histories["open"], When: account.WithdrawMoney{Amount: gbp(1001)}, Refused: account.ErrInsufficientFunds},
		{Name: "all", Given: histories["open"], When: account.WithdrawMoney{Amount: gbp(1000)}, Then: []account.Event{emptied}},
		{
			Name: "what was deposited", Given: []account.Event{created, deposited}, When: account.WithdrawMoney{Amount: gbp(1250)},
			Then: []account.Event{account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(1250)}},
		},
	})
}

func TestCloseAccount(t *testing.T) {
	scenario.Run(t, []row{
		{Name: "with a penny in it", Given: []account.Event{created, account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(999)}}, When: closeAccount, Refused: account.ErrBalanceNotZero},
		{Name: "opened with nothing", Given: []account.Event{account.AccountCreated{AccountID: "a-1", AccountName: "n", InitialBalance: eur(0)}}, When: closeAccount, Then: []account.Event{closed}},
	})
}

// TestBalanceHasRoom: a sum past 64 bits is an error, no event and no refusal.
func TestBalanceHasRoom(t *testing.T) {
	const room = 10
	state := account.State{Status: account.Open, Balance: gbp(math.MaxInt64 - room)}
	in := processing.Context{ID: "a-1"}
	events, err := account.Decider.Decide(in, account.DepositMoney{Amount: gbp(room)}, state)
	if err != nil || len(events) != 1 || account.Decider.Evolve(state, events[0]).Balance != gbp(math.MaxInt64) {
		t.Errorf("just enough room: got %v, %v", events, err)
	}
	var refusal *processing.Refusal
	events, err = account.Decider.Decide(in, account.DepositMoney{Amount: gbp(room + 1)}, state)
	if err == nil || errors.As(err, &refusal) || len(events) > 0 || !strings.Contains(err.Error(), "depositing 11 GBP: the balance of account a-1 is 9223372036854775797 GBP") {
		t.Errorf("no room: got %v, %v", events, err)
	}
}

func TestRefusalsSayNumbers(t *testing.T) {
	for _, c := range []struct {
		given   string
		command account.Command
		want    string
	}{
		{"open", create, "account-exists: account is OPEN"},
		{"none", account.CreateAccount{AccountName: "n", InitialBalance: eur(-3)}, "negative-amount: initial_balance is -3 EUR"},
		{"open", account.DepositMoney{Amount: gbp(-3)}, "amount-not-positive: amount is -3 GBP"},
		{"open", account.WithdrawMoney{Amount: eur(7)}, "currency-mismatch: account is in GBP, amount is 7 EUR"},
		{"open", account.WithdrawMoney{Amount: gbp(1001)}, "insufficient-funds: balance is 1000 GBP, withdrawal is 1001 GBP"},
		{"open", closeAccount, "balance-not-zero: balance is 1000 GBP"},
	} {
		var state account.State
		for _, e := range histories[c.given] {
			state = account.Decider.Evolve(state, e)
		}
		if _, err := account.Decider.Decide(processing.Context{ID: "a-1"}, c.command, state); err == nil || err.Error() != c.want {
			t.Errorf("%T when %s: got %v, want %s", c.command, c.given, err, c.want)
		}
	}
}

func TestRefusalKinds(t *testing.T) {
	other := map[string]processing.RefusalKind{
		"account-not-found": processing.NotFound, "negative-amount": processing.Unprocessable,
		"amount-not-positive": processing.Unprocessable, "currency-mismatch": processing.Unprocessable,
	}
	codes := []string{
		"account-exists", "negative-amount", "account-not-found", "account-closed",
		"amount-not-positive", "currency-mismatch", "insufficient-funds", "balance-not-zero",
	}
	var declared []string
	for _, r := range account.Decider.Refusals {
		declared = append(declared, r.Code)
		if want := other[r.Code]; r.Kind != want { // Conflict is the zero kind
			t.Errorf("%s: kind %d, want %d", r.Code, r.Kind, want)
		}
	}
	if !slices.Equal(declared, codes) {
		t.Errorf("refusals %v, want %v", declared, codes)
	}
}

func TestUnknownCommandIsNoRefusal(t *testing.T) {
	var refusal *processing.Refusal
	if events, err := account.Decider.Decide(processing.Context{ID: "a-1"}, nil, account.State{}); err == nil || errors.As(err, &refusal) {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestMalformedCommands(t *testing.T) {
	named := func(name string) account.CreateAccount {
		return account.CreateAccount{AccountName: name, InitialBalance: gbp(0)}
	}
	tooMuch := gbp(processing.MaxMinorUnits + 1)
	scenario.Run(t, []row{
		{Name: "no name", When: named(""), Invalid: "account_name"},
		{Name: "name too long", When: named(strings.Repeat("x", 201)), Invalid: "account_name"},
		{Name: "name is no UTF-8", When: named("\xff"), Invalid: "account_name"},
		{Name: "balance without currency", When: account.CreateAccount{AccountName: "n"}, Invalid: "initial_balance.currency"},
		{Name: "balance out of bounds", When: account.CreateAccount{AccountName: "n", InitialBalance: tooMuch}, Invalid: "initial_balance.minor_units"},
		{Name: "deposit without currency", Given: histories["open"], When: account.DepositMoney{}, Invalid: "amount.currency"},
		{Name: "deposit out of bounds", Given: histories["open"], When: account.DepositMoney{Amount: tooMuch}, Invalid: "amount.minor_units"},
		{Name: "withdrawal without currency", Given: histories["open"], When: account.WithdrawMoney{}, Invalid: "amount.currency"},
		{Name: "withdrawal out of bounds", Given: histories["open"], When: account.WithdrawMoney{Amount: tooMuch}, Invalid: "amount.minor_units"},
	})
	for _, c := range []processing.Validator{named("x"), named(strings.Repeat("é", 100)), account.DepositMoney{Amount: gbp(processing.MaxMinorUnits)}} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
