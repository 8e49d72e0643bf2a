package account_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

type step = processingtest.Step[account.State, account.Command, account.Event]

// commands draws few different amounts, so that accounts are often emptied and closed, and now and then
// a malformed command.
func commands() *rapid.Generator[account.Command] {
	return rapid.Custom(func(t *rapid.T) account.Command {
		amount := processing.Money{
			MinorUnits: rapid.SampledFrom([]int64{100, 200, 0, -100}).Draw(t, "amount"),
			Currency:   rapid.SampledFrom([]string{"GBP", "GBP", "EUR"}).Draw(t, "currency"),
		}
		switch rapid.SampledFrom([]string{"withdraw", "deposit", "create", "close", "withdraw"}).Draw(t, "command") {
		case "create":
			return account.CreateAccount{AccountName: rapid.SampledFrom([]string{"Savings", "Zoë", ""}).Draw(t, "name"), InitialBalance: amount}
		case "deposit":
			return account.DepositMoney{Amount: amount}
		case "withdraw":
			return account.WithdrawMoney{Amount: amount}
		default:
			return account.CloseAccount{}
		}
	})
}

func TestLaws(t *testing.T) {
	processingtest.CheckDecider(t, account.Decider, commands(), onlyAllowedEdges, moneyIsConserved, refusalsChangeNothing, eventsNameTheAccount)
}

func onlyAllowedEdges(history []step) error {
	allowed := map[[2]account.Status]bool{
		{"", account.Open}: true, {account.Open, account.Open}: true, {account.Open, account.Closed}: true,
	}
	for _, s := range history {
		from, to := s.Before.Status, s.After.Status
		if s.Refusal != nil {
			continue
		}
		if len(s.Events) != 1 || !allowed[[2]account.Status{from, to}] {
			return fmt.Errorf("%T moved the account from %q to %q with %d events", s.Command, from, to, len(s.Events))
		}
	}
	return nil
}

// moneyIsConserved: after every command the account holds what came in less what went out, in one
// currency and never less than nothing, and nothing once it is closed.
func moneyIsConserved(history []step) error {
	var in, out processing.Money
	for _, s := range history {
		for _, e := range s.Events {
			moved := &in
			var amount processing.Money
			switch e := e.(type) {
			case account.AccountCreated:
				in, out = processing.Money{Currency: e.InitialBalance.Currency}, processing.Money{Currency: e.InitialBalance.Currency}
				amount = e.InitialBalance
			case account.MoneyDeposited:
				amount = e.Amount
			case account.MoneyWithdrawn:
				moved, amount = &out, e.Amount
			case account.AccountClosed:
				amount.Currency = in.Currency
			}
			if amount.Currency != moved.Currency || amount.MinorUnits < 0 {
				return fmt.Errorf("%T moved %s in an account in %s", e, amount, moved.Currency)
			}
			moved.MinorUnits += amount.MinorUnits
		}
		want := processing.Money{MinorUnits: in.MinorUnits - out.MinorUnits, Currency: in.Currency}
		if s.After.Balance != want || want.MinorUnits < 0 {
			return fmt.Errorf("the account holds %s: %s came in, %s went out", s.After.Balance, in, out)
		}
		if s.After.Status == account.Closed && want.MinorUnits != 0 {
			return fmt.Errorf("the account is closed and holds %s", want)
		}
	}
	return nil
}

func refusalsChangeNothing(history []step) error {
	for _, s := range history {
		if s.Refusal != nil && (len(s.Events) > 0 || s.Before != s.After) {
			return fmt.Errorf("refused with %s, but %+v became %+v", s.Refusal.Code, s.Before, s.After)
		}
	}
	return nil
}

func eventsNameTheAccount(history []step) error {
	for _, s := range history {
		for _, e := range s.Events {
			var id string
			switch e := e.(type) {
			case account.AccountCreated:
				id = e.AccountID
			case account.MoneyDeposited:
				id = e.AccountID
			case account.MoneyWithdrawn:
				id = e.AccountID
			case account.AccountClosed:
				id = e.AccountID
			}
			if id != s.In.ID {
				return fmt.Errorf("%T of account %s names account %q", e, s.In.ID, id)
			}
		}
	}
	return nil
}
