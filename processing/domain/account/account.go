// Package account decides what happens to an account: it is opened with a balance, takes and gives out
// money in one currency, and is closed once it is empty.
//
// It owns the rules of one account and nothing else: it moves no money between accounts, knows no owner
// and lends nothing. It refuses a balance below zero, another currency than the account's, closing an
// account that holds money, and every change of a closed one; a closed account's id is not used again.
//
// The bounds of an amount keep a balance far from the end of 64 bits. A deposit that would pass it all
// the same is an error of the decision and no refusal: the command fails with "decide-failed", the
// account does not change, and the same command can be sent again when there is room.
package account

import "github.com/ledgerline/ledgerline/processing"

// Status is whether an account can be used. The zero Status is that of an account that does not exist.
type Status string

// The statuses of an account: Open → Closed.
const (
	Open   Status = "OPEN"
	Closed Status = "CLOSED"
)

// State is what deciding the next command takes. The zero State is an account that does not exist.
type State struct {
	Status Status
	// Balance is what came in less what went out, never negative. Its currency is the account's.
	Balance processing.Money
}

// The refusals of an account.
var (
	ErrAccountExists     = processing.Refuse("account-exists", processing.Conflict)
	ErrNegativeAmount    = processing.Refuse("negative-amount", processing.Unprocessable)
	ErrAccountNotFound   = processing.Refuse("account-not-found", processing.NotFound)
	ErrAccountClosed     = processing.Refuse("account-closed", processing.Conflict)
	ErrAmountNotPositive = processing.Refuse("amount-not-positive", processing.Unprocessable)
	ErrCurrencyMismatch  = processing.Refuse("currency-mismatch", processing.Unprocessable)
	ErrInsufficientFunds = processing.Refuse("insufficient-funds", processing.Conflict)
	ErrBalanceNotZero    = processing.Refuse("balance-not-zero", processing.Conflict)
)

// Decider is the account aggregate.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "account",
	Collection: "accounts",
	Commands: []processing.Type{
		processing.TypeOf[CreateAccount](),
		processing.TypeOf[DepositMoney](),
		processing.TypeOf[WithdrawMoney](),
		processing.TypeOf[CloseAccount](),
	},
	Events: []processing.Type{
		processing.TypeOf[AccountCreated](),
		processing.TypeOf[MoneyDeposited](),
		processing.TypeOf[MoneyWithdrawn](),
		processing.TypeOf[AccountClosed](),
	},
	Refusals: []*processing.Refusal{
		ErrAccountExists, ErrNegativeAmount, ErrAccountNotFound, ErrAccountClosed,
		ErrAmountNotPositive, ErrCurrencyMismatch, ErrInsufficientFunds, ErrBalanceNotZero,
	},
	Decide: decide,
	Evolve: evolve,
}
