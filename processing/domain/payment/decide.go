package payment

import (
	"fmt"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	switch c := command.(type) {
	case CreateOrder:
		return create(in, c, state)
	case AuthorizePayment:
		return authorize(in, c, state)
	case CapturePayment:
		return capture(in, c, state)
	case IssueRefund:
		return refund(in, c, state)
	default:
		return nil, fmt.Errorf("deciding payment of order %s: unknown command %T", in.ID, command)
	}
}

func create(in processing.Context, c CreateOrder, state State) ([]Event, error) {
	if state.Status != "" {
		return nil, ErrOrderExists.Because("order is %s, for %s", state.Status, state.Amount)
	}
	if c.Amount.MinorUnits <= 0 {
		return nil, ErrAmountNotPositive.Because("amount is %s", c.Amount)
	}
	return []Event{OrderCreated{OrderID: in.ID, Amount: c.Amount}}, nil
}

func authorize(in processing.Context, c AuthorizePayment, state State) ([]Event, error) {
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status != New:
		return nil, ErrNotNew.Because("order is %s, by payment %s", state.Status, state.PaymentID)
	case c.Amount != state.Amount:
		return nil, ErrAmountMismatch.Because("order is for %s, authorisation is %s", state.Amount, c.Amount)
	}
	return []Event{PaymentAuthorized{PaymentID: c.PaymentID, OrderID: in.ID, Amount: c.Amount}}, nil
}

func capture(in processing.Context, c CapturePayment, state State) ([]Event, error) {
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status != Authorized:
		return nil, ErrNotAuthorized.Because("order is %s", state.Status)
	case c.PaymentID != state.PaymentID:
		return nil, ErrPaymentMismatch.Because("order is paid by payment %s, not %s", state.PaymentID, c.PaymentID)
	case c.Amount != state.Amount:
		return nil, ErrAmountMismatch.Because("%s is authorised, capture is %s", state.Amount, c.Amount)
	}
	return []Event{PaymentCaptured{PaymentID: c.PaymentID, OrderID: in.ID, Amount: c.Amount}}, nil
}

func refund(in processing.Context, c IssueRefund, state State) ([]Event, error) {
	left := processing.Money{MinorUnits: state.CapturedMinor - state.RefundedMinor, Currency: state.Amount.Currency}
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status != Captured:
		return nil, ErrNotCaptured.Because("order is %s", state.Status)
	case c.PaymentID != state.PaymentID:
		return nil, ErrPaymentMismatch.Because("order is paid by payment %s, not %s", state.PaymentID, c.PaymentID)
	case c.Amount.Currency != left.Currency || c.Amount.MinorUnits > left.MinorUnits:
		return nil, ErrRefundExceedsCapture.Because("%s is left of what was captured, refund is %s", left, c.Amount)
	}
	return []Event{RefundIssued{PaymentID: c.PaymentID, OrderID: in.ID, Amount: c.Amount}}, nil
}
