package order

import (
	"fmt"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

func decide(in processing.Context, command Command, state State) ([]Event, error) {
	switch c := command.(type) {
	case PlaceOrder:
		return place(in, c, state)
	case ReceivePayment:
		return receivePayment(in, c, state)
	case ShipOrder:
		return ship(in, state)
	case CancelOrder:
		return cancel(in, c, state)
	default:
		return nil, fmt.Errorf("deciding order %s: unknown command %T", in.ID, command)
	}
}

func place(in processing.Context, c PlaceOrder, state State) ([]Event, error) {
	if state.Status != "" {
		return nil, ErrOrderExists.Because("order is %s, for %s", state.Status, state.TotalAmount)
	}
	if c.TotalAmount.MinorUnits <= 0 {
		return nil, ErrAmountNotPositive.Because("total_amount is %s", c.TotalAmount)
	}
	placedAt := in.At
	if c.PlacedAt != nil {
		placedAt = *c.PlacedAt
	}
	return []Event{OrderPlaced{
		OrderID: in.ID, CustomerID: c.CustomerID, TotalAmount: c.TotalAmount, Discount: c.Discount,
		PlacedAt: placedAt.UTC().Truncate(time.Millisecond),
	}}, nil
}

func receivePayment(in processing.Context, c ReceivePayment, state State) ([]Event, error) {
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status != Placed:
		return nil, ErrOrderNotPlaced.Because("order is %s", state.Status)
	case c.Amount != state.TotalAmount:
		return nil, ErrAmountMismatch.Because("order is for %s, payment is %s", state.TotalAmount, c.Amount)
	}
	return []Event{PaymentReceived{OrderID: in.ID, CustomerID: state.CustomerID, Amount: c.Amount}}, nil
}

func ship(in processing.Context, state State) ([]Event, error) {
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status != Paid:
		return nil, ErrOrderNotPaid.Because("order is %s, for %s", state.Status, state.TotalAmount)
	}
	return []Event{OrderShipped{OrderID: in.ID, CustomerID: state.CustomerID}}, nil
}

func cancel(in processing.Context, c CancelOrder, state State) ([]Event, error) {
	switch {
	case state.Status == "":
		return nil, ErrOrderNotFound
	case state.Status == Shipped:
		return nil, ErrAlreadyShipped
	case state.Status == Cancelled:
		return nil, ErrAlreadyCancelled
	}
	return []Event{OrderCancelled{
		OrderID: in.ID, CustomerID: state.CustomerID, TotalAmount: state.TotalAmount,
		PreviousStatus: state.Status, Reason: c.Reason,
	}}, nil
}
