package account

import (
	"fmt"
	"unicode/utf8"

	"github.com/ledgerline/ledgerline/processing"
)

// MaxNameLength is the longest name of an account in bytes.
const MaxNameLength = 200

// Command is one of CreateAccount, DepositMoney, WithdrawMoney and CloseAccount.
type Command interface{ command() }

// CreateAccount asks for a new account.
type CreateAccount struct {
	// AccountName is for people: 1 to MaxNameLength bytes of UTF-8.
	AccountName string `avro:"account_name"`
	// InitialBalance is what the account holds from the start, zero or more. Its currency is the
	// account's for ever.
	InitialBalance processing.Money `avro:"initial_balance"`
}

// DepositMoney puts money in.
type DepositMoney struct {
	Amount processing.Money `avro:"amount"`
}

// WithdrawMoney takes money out, at most the balance.
type WithdrawMoney struct {
	Amount processing.Money `avro:"amount"`
}

// CloseAccount asks to give up an account that holds nothing.
type CloseAccount struct{}

func (CreateAccount) command() {}
func (DepositMoney) command()  {}
func (WithdrawMoney) command() {}
func (CloseAccount) command()  {}

// Validate returns a *processing.FieldError if the name is empty, too long or not UTF-8, the currency is
// none or the balance is out of the bounds of an amount.
func (c CreateAccount) Validate() error {
	switch {
	case c.AccountName == "" || len(c.AccountName) > MaxNameLength:
		return &processing.FieldError{Field: "account_name", Reason: fmt.Sprintf("want 1 to %d bytes, got %d", MaxNameLength, len(c.AccountName))}
	case !utf8.ValidString(c.AccountName):
		return &processing.FieldError{Field: "account_name", Reason: "want valid UTF-8"}
	}
	return c.InitialBalance.Validate("initial_balance")
}

// Validate returns a *processing.FieldError if the currency is none or the amount is out of bounds.
func (c DepositMoney) Validate() error { return c.Amount.Validate("amount") }

// Validate returns a *processing.FieldError if the currency is none or the amount is out of bounds.
func (c WithdrawMoney) Validate() error { return c.Amount.Validate("amount") }
