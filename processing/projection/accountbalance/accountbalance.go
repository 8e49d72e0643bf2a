// Package accountbalance projects an account's events into one document per account: what it is called,
// what it holds and whether it can be used.
//
// Layout: read model account-balance, keyed by account id as the events are, so a bucket per partition.
// In Redis a document is the JSON text of an [AccountBalance] in the field <account id> of the hash
// ledgerline:{account-balance.<generation>.<partition>}:docs.
//
// It owns what the document shows. It refuses (and so parks) an account whose events do not begin with
// AccountCreated, amounts in another currency than the account's and events of types that it does not
// know.
package accountbalance

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
)

// AccountBalance is the document of an account.
type AccountBalance struct {
	processing.Document
	AccountID string `json:"account_id"`
	// Name is what people call the account.
	Name string `json:"name"`
	// Balance is what came in less what went out, never negative.
	Balance processing.Money `json:"balance"`
	// Status is "open" or "closed".
	Status string `json:"status"`
}

// ReadModel is account-balance.
var ReadModel = processing.Documents[AccountBalance]{
	Name:        "account-balance",
	Collection:  "accounts",
	CodeVersion: 1,
	Aggregate:   "account",
	Fold:        fold,
}

func fold(doc *AccountBalance, event processing.Event) error {
	_, first := event.Data.(account.AccountCreated)
	switch {
	case first && doc.AccountID != "":
		return fmt.Errorf("folding account %q: created twice", event.AggregateID)
	case !first && doc.AccountID == "":
		return fmt.Errorf("folding account %q: %s before it was created", event.AggregateID, event.Type)
	}
	switch e := event.Data.(type) {
	case account.AccountCreated:
		doc.AccountID = e.AccountID
		doc.Name = e.AccountName
		doc.Balance = e.InitialBalance
		doc.Status = "open"
	case account.MoneyDeposited:
		return move(doc, event, e.Amount, 1)
	case account.MoneyWithdrawn:
		return move(doc, event, e.Amount, -1)
	case account.AccountClosed:
		doc.Status = "closed"
	default:
		return fmt.Errorf("folding account %q: unknown event %s", event.AggregateID, event.Type)
	}
	return nil
}

// move adds sign times amount to the balance.
func move(doc *AccountBalance, event processing.Event, amount processing.Money, sign int64) error {
	if amount.Currency != doc.Balance.Currency {
		return fmt.Errorf("folding account %q: %s of %s, the account is in %s", event.AggregateID, event.Type, amount, doc.Balance.Currency)
	}
	doc.Balance.MinorUnits += sign * amount.MinorUnits
	return nil
}
