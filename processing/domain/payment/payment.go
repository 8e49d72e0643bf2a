// Package payment decides what happens to the payment of an order: the order's amount is authorised
// under a payment id, captured, and given back in one refund or in several.
//
// It owns the rules of one order's payment, and its aggregate's id is the order's. It moves no money and
// knows nothing of package order: an order exists here once CreateOrder has said what it costs. There
// is one payment per order. It refuses to authorise or capture anything but the order's whole amount in
// its currency, to act on a payment of another id, and to give back more than was captured.
package payment

import "github.com/ledgerline/ledgerline/processing"

// Status is how far the payment of an order has come. The zero Status is that of an order that does not
// exist.
type Status string

// The statuses of a payment's order: New → Authorized → Captured → Refunded. An order of which a part is
// given back stays Captured; it is Refunded once all is, and a refund then is refused as not-captured.
const (
	New        Status = "NEW"
	Authorized Status = "AUTHORIZED"
	Captured   Status = "CAPTURED"
	Refunded   Status = "REFUNDED"
)

// State is what deciding the next command takes. The zero State is an order that does not exist.
type State struct {
	Status Status
	// Amount is what the order costs. Its currency is that of all other amounts.
	Amount processing.Money
	// PaymentID is empty until a payment is authorised.
	PaymentID string
	// CapturedMinor and RefundedMinor are in minor units: 0 <= RefundedMinor <= CapturedMinor.
	CapturedMinor int64
	RefundedMinor int64
}

// The refusals of a payment.
var (
	ErrOrderExists          = processing.Refuse("order-exists", processing.Conflict)
	ErrAmountNotPositive    = processing.Refuse("amount-not-positive", processing.Unprocessable)
	ErrOrderNotFound        = processing.Refuse("order-not-found", processing.NotFound)
	ErrNotNew               = processing.Refuse("not-new", processing.Conflict)
	ErrAmountMismatch       = processing.Refuse("amount-mismatch", processing.Conflict)
	ErrNotAuthorized        = processing.Refuse("not-authorized", processing.Conflict)
	ErrPaymentMismatch      = processing.Refuse("payment-mismatch", processing.Conflict)
	ErrNotCaptured          = processing.Refuse("not-captured", processing.Conflict)
	ErrRefundExceedsCapture = processing.Refuse("refund-exceeds-capture", processing.Conflict)
)

// Decider is the payment aggregate.
var Decider = processing.Decider[State, Command, Event]{
	Aggregate:  "payment",
	Collection: "payments",
	Commands: []processing.Type{
		processing.TypeOf[CreateOrder](),
		processing.TypeOf[AuthorizePayment](),
		processing.TypeOf[CapturePayment](),
		processing.TypeOf[IssueRefund](),
	},
	Events: []processing.Type{
		processing.TypeOf[OrderCreated](),
		processing.TypeOf[PaymentAuthorized](),
		processing.TypeOf[PaymentCaptured](),
		processing.TypeOf[RefundIssued](),
	},
	Refusals: []*processing.Refusal{
		ErrOrderExists, ErrAmountNotPositive, ErrOrderNotFound, ErrNotNew, ErrAmountMismatch,
		ErrNotAuthorized, ErrPaymentMismatch, ErrNotCaptured, ErrRefundExceedsCapture,
	},
	Decide: decide,
	Evolve: evolve,
}
