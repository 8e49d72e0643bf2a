package paymentstatus

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/processing/processingtest"
)

var (
	created    = payment.OrderCreated{OrderID: "o-1", Amount: gbp(1250)}
	authorized = payment.PaymentAuthorized{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(1250)}
	captured   = payment.PaymentCaptured{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(1250)}
	refunded   = payment.RefundIssued{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(1250)}
)

func gbp(pence int64) processing.Money { return processing.Money{MinorUnits: pence, Currency: "GBP"} }

func refundOf(pence int64) payment.RefundIssued {
	return payment.RefundIssued{PaymentID: "p-1", OrderID: "o-1", Amount: gbp(pence)}
}

// foldAll folds events, keeping Version as the engine does.
func foldAll(events ...any) (PaymentStatus, error) {
	var doc PaymentStatus
	for i, data := range events {
		e := processing.Event{
			Aggregate: "payment", AggregateID: "o-1", Type: reflect.TypeOf(data).Name(), Data: data, Version: int64(i + 1),
		}
		if err := ReadModel.Fold(&doc, e); err != nil {
			return doc, err
		}
		doc.Version = e.Version
	}
	return doc, nil
}

func TestDocumentAfterEachEvent(t *testing.T) {
	const (
		zero = `{"minor_units":0,"currency":"GBP"}`
		all  = `{"minor_units":1250,"currency":"GBP"}`
	)
	for _, c := range []struct {
		name   string
		events []any
		want   string
	}{
		{
			"created", []any{created},
			`{"version":1,"order_id":"o-1","status":"pending","amount":` + all +
				`,"authorized_amount":` + zero + `,"captured_amount":` + zero + `,"refunded_amount":` + zero + `}`,
		},
		{
			"authorized", []any{created, authorized},
			`{"version":2,"order_id":"o-1","payment_id":"p-1","status":"authorized","amount":` + all +
				`,"authorized_amount":` + all + `,"captured_amount":` + zero + `,"refunded_amount":` + zero + `}`,
		},
		{
			"captured", []any{created, authorized, captured},
			`{"version":3,"order_id":"o-1","payment_id":"p-1","status":"captured","amount":` + all +
				`,"authorized_amount":` + all + `,"captured_amount":` + all + `,"refunded_amount":` + zero + `}`,
		},
		{
			"a part refunded", []any{created, authorized, captured, refundOf(250), refundOf(999)},
			`{"version":5,"order_id":"o-1","payment_id":"p-1","status":"captured","amount":` + all +
				`,"authorized_amount":` + all + `,"captured_amount":` + all + `,"refunded_amount":{"minor_units":1249,"currency":"GBP"}}`,
		},
		{
			"refunded in parts", []any{created, authorized, captured, refundOf(250), refundOf(999), refundOf(1)},
			`{"version":6,"order_id":"o-1","payment_id":"p-1","status":"refunded","amount":` + all +
				`,"authorized_amount":` + all + `,"captured_amount":` + all + `,"refunded_amount":` + all + `}`,
		},
		{
			"refunded at once", []any{created, authorized, captured, refunded},
			`{"version":4,"order_id":"o-1","payment_id":"p-1","status":"refunded","amount":` + all +
				`,"authorized_amount":` + all + `,"captured_amount":` + all + `,"refunded_amount":` + all + `}`,
		},
	} {
		doc, err := foldAll(c.events...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text, err := json.Marshal(doc)
		if err != nil || string(text) != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, text, err, c.want)
		}
		var back PaymentStatus
		if err := json.Unmarshal(text, &back); err != nil || back != doc {
			t.Errorf("%s: read back: %+v, %v", c.name, back, err)
		}
	}
}

func TestEventsThatCannotBeApplied(t *testing.T) {
	euros := processing.Money{MinorUnits: 1250, Currency: "EUR"}
	for _, c := range []struct {
		events []any
		want   string
	}{
		{[]any{authorized}, "PaymentAuthorized before it was created"},
		{[]any{captured}, "PaymentCaptured before it was created"},
		{[]any{refunded}, "RefundIssued before it was created"},
		{[]any{created, created}, "created twice"},
		{[]any{created, payment.PaymentAuthorized{Amount: euros}}, "PaymentAuthorized of 1250 EUR, the order is in GBP"},
		{[]any{created, authorized, payment.PaymentCaptured{Amount: euros}}, "PaymentCaptured of 1250 EUR, the order is in GBP"},
		{[]any{created, authorized, captured, payment.RefundIssued{Amount: euros}}, "RefundIssued of 1250 EUR, the order is in GBP"},
		{[]any{created, struct{}{}}, "unknown event"},
	} {
		if doc, err := foldAll(c.events...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v and %+v", c.want, err, doc)
		}
	}
}

// TestShowsWhatTheDomainHolds folds what the domain appends and compares with the domain's own state.
func TestShowsWhatTheDomainHolds(t *testing.T) {
	statuses := map[payment.Status]string{
		payment.New: "pending", payment.Authorized: "authorized", payment.Captured: "captured", payment.Refunded: "refunded",
	}
	commands := rapid.Custom(func(t *rapid.T) payment.Command {
		switch rapid.IntRange(0, 4).Draw(t, "command") {
		case 0:
			return payment.CreateOrder{Amount: gbp(3)}
		case 1:
			return payment.AuthorizePayment{PaymentID: "p-1", Amount: gbp(3)}
		case 2:
			return payment.CapturePayment{PaymentID: "p-1", Amount: gbp(3)}
		default:
			return payment.IssueRefund{PaymentID: "p-1", Amount: gbp(rapid.Int64Range(1, 3).Draw(t, "refund"))}
		}
	})
	log := processingtest.Log(payment.Decider, commands)
	seen := map[payment.Status]bool{}
	rapid.Check(t, func(t *rapid.T) {
		docs, states := map[string]PaymentStatus{}, map[string]payment.State{}
		for _, e := range log.Draw(t, "log") {
			doc := docs[e.AggregateID]
			if err := ReadModel.Fold(&doc, e); err != nil {
				t.Fatal(err)
			}
			state := payment.Decider.Evolve(states[e.AggregateID], e.Data.(payment.Event))
			docs[e.AggregateID], states[e.AggregateID] = doc, state
			if doc.OrderID != e.AggregateID || doc.Amount != state.Amount || doc.PaymentID != state.PaymentID || doc.Status != statuses[state.Status] ||
				doc.CapturedAmount != gbp(state.CapturedMinor) || doc.RefundedAmount != gbp(state.RefundedMinor) {
				t.Fatalf("after %+v: document %+v, domain %+v", e.Data, doc, state)
			}
			seen[state.Status] = true
		}
	})
	if len(seen) != len(statuses) {
		t.Errorf("only the statuses %v were reached", seen)
	}
}

func TestReadModelIsWhole(t *testing.T) {
	m := ReadModel.Erase() // panics if a part is missing
	if m.Name != "payment-status" || m.Collection != payment.Decider.Collection || !m.KeyedAsEvents || m.Buckets(12) != 12 || m.Aggregates[0] != payment.Decider.Aggregate {
		t.Errorf("got %+v", m)
	}
}
