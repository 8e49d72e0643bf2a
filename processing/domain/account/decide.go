package account

import (
	"fmt"
	"math"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	switch c := command.(type) {
	case CreateAccount:
		return create(in, c, state)
	case DepositMoney:
		return deposit(in, c, state)
	case WithdrawMoney:
		return withdraw(in, c, state)
	case CloseAccount:
		return closeAccount(in, state)
	default:
		return nil, fmt.Errorf("deciding account %s: unknown command %T", in.ID, command)
	}
}

func create(in processing.Context, c CreateAccount, state State) ([]Event, error) {
	if state.Status != "" {
		return nil, ErrAccountExists.Because("account is %s", state.Status)
	}
	if c.InitialBalance.MinorUnits < 0 {
		return nil, ErrNegativeAmount.Because("initial_balance is %s", c.InitialBalance)
	}
	return []Event{AccountCreated{AccountID: in.ID, AccountName: c.AccountName, InitialBalance: c.InitialBalance}}, nil
}

func deposit(in processing.Context, c DepositMoney, state State) ([]Event, error) {
	if err := refuseAmount(c.Amount, state); err != nil {
		return nil, err
	}
	if c.Amount.MinorUnits > math.MaxInt64-state.Balance.MinorUnits {
		return nil, fmt.Errorf("depositing %s: the balance of account %s is %s and has no room for it", c.Amount, in.ID, state.Balance)
	}
	return []Event{MoneyDeposited{AccountID: in.ID, Amount: c.Amount}}, nil
}

func withdraw(in processing.Context, c WithdrawMoney, state State) ([]Event, error) {
	if err := refuseAmount(c.Amount, state); err != nil {
		return nil, err
	}
	if c.Amount.MinorUnits > state.Balance.MinorUnits {
		return nil, ErrInsufficientFunds.Because("balance is %s, withdrawal is %s", state.Balance, c.Amount)
	}
	return []Event{MoneyWithdrawn{AccountID: in.ID, Amount: c.Amount}}, nil
}

func closeAccount(in processing.Context, state State) ([]Event, error) {
	if err := refuseUnlessOpen(state); err != nil {
		return nil, err
	}
	if state.Balance.MinorUnits != 0 {
		return nil, ErrBalanceNotZero.Because("balance is %s", state.Balance)
	}
	return []Event{AccountClosed{AccountID: in.ID}}, nil
}

// refuseAmount returns why amount can be neither put in nor taken out, nil if it can be put in.
func refuseAmount(amount processing.Money, state State) error {
	if err := refuseUnlessOpen(state); err != nil {
		return err
	}
	switch {
	case amount.MinorUnits <= 0:
		return ErrAmountNotPositive.Because("amount is %s", amount)
	case amount.Currency != state.Balance.Currency:
		return ErrCurrencyMismatch.Because("account is in %s, amount is %s", state.Balance.Currency, amount)
	}
	return nil
}

func refuseUnlessOpen(state State) error {
	switch state.Status {
	case "":
		return ErrAccountNotFound
	case Closed:
		return ErrAccountClosed
	}
	return nil
}
