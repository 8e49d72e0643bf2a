package account

import "github.com/ledgerline/ledgerline/processing"

// Event is one of AccountCreated, MoneyDeposited, MoneyWithdrawn and AccountClosed.
type Event interface{ event() }

// AccountCreated says that an account exists and is open.
type AccountCreated struct {
	AccountID   string `avro:"account_id"`
	AccountName string `avro:"account_name"`
	// InitialBalance is zero or more. Its currency is that of all later amounts.
	InitialBalance processing.Money `avro:"initial_balance"`
}

// MoneyDeposited says that money came in. Amount is positive.
type MoneyDeposited struct {
	AccountID string           `avro:"account_id"`
	Amount    processing.Money `avro:"amount"`
}

// MoneyWithdrawn says that money went out. Amount is positive and at most the balance before.
type MoneyWithdrawn struct {
	AccountID string           `avro:"account_id"`
	Amount    processing.Money `avro:"amount"`
}

// AccountClosed says that the account, which held nothing, is closed for ever.
type AccountClosed struct {
	AccountID string `avro:"account_id"`
}

func (AccountCreated) event() {}
func (MoneyDeposited) event() {}
func (MoneyWithdrawn) event() {}
func (AccountClosed) event()  {}
