package payment_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/account"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
	"github.com/ledgerline/ledgerline/schemas"
)

// registry has every schema that it is asked for.
type registry struct{ texts []string }

func (r *registry) SchemaID(_ context.Context, _, text string) (int, error) {
	if i := slices.Index(r.texts, text); i >= 0 {
		return i, nil
	}
	r.texts = append(r.texts, text)
	return len(r.texts) - 1, nil
}

func (r *registry) SchemaByID(_ context.Context, id int) (string, error) {
	if id >= len(r.texts) {
		return "", fmt.Errorf("id %d: %w", id, schemas.ErrNotRegistered)
	}
	return r.texts[id], nil
}

// commandsAsJSON has a value of every command of account and payment, by the JSON that stands for it.
var commandsAsJSON = map[string]any{
	`{"account_name":"Zoë","initial_balance":{"minor_units":0,"currency":"EUR"}}`: account.CreateAccount{AccountName: "Zoë", InitialBalance: eur(0)},

	`{"amount":{"minor_units":10000000000000,"currency":"GBP"}}`: account.DepositMoney{Amount: gbp(processing.MaxMinorUnits)},
	`{"amount":{"minor_units":-1,"currency":"GBP"}}`:             account.WithdrawMoney{Amount: gbp(-1)},
	`{}`: account.CloseAccount{},

	`{"amount":{"minor_units":1250,"currency":"GBP"}}`:                    create,
	`{"payment_id":"p-1","amount":{"minor_units":1250,"currency":"GBP"}}`: authorize,
	`{"payment_id":"p-2","amount":{"minor_units":300,"currency":"GBP"}}`:  payment.CapturePayment{PaymentID: "p-2", Amount: gbp(300)},
	`{"payment_id":"p-2", "amount":{"currency":"EUR","minor_units":7}}`:   payment.IssueRefund{PaymentID: "p-2", Amount: eur(7)},
}

// TestEveryTypeGoesThroughTheCodec takes a value of every command and event of all aggregates of this
// repository to framed Avro and back, and the commands of account and payment from JSON too.
func TestEveryTypeGoesThroughTheCodec(t *testing.T) {
	when := time.Date(2010, 12, 1, 8, 26, 0, 5_000_000, time.UTC)
	discount := gbp(250)
	values := append(slices.Collect(maps.Values(commandsAsJSON)),
		account.AccountCreated{AccountID: "a-1", AccountName: "Zoë", InitialBalance: eur(0)},
		account.MoneyDeposited{AccountID: "a-1", Amount: gbp(processing.MaxMinorUnits)},
		account.MoneyWithdrawn{AccountID: "a-1", Amount: gbp(1)},
		account.AccountClosed{AccountID: "a-1"},
		created, authorized, captured, refunded(1),
		order.PlaceOrder{CustomerID: "c-1", TotalAmount: gbp(1250), Discount: &discount, PlacedAt: &when},
		order.ReceivePayment{Amount: gbp(1250)}, order.ShipOrder{}, order.CancelOrder{Reason: "spät"},
		order.OrderPlaced{OrderID: "o-1", CustomerID: "c-1", TotalAmount: gbp(1250), Discount: &discount, PlacedAt: when},
		order.PaymentReceived{OrderID: "o-1", CustomerID: "c-1", Amount: gbp(1250)},
		order.OrderShipped{OrderID: "o-1", CustomerID: "c-1"},
		order.OrderCancelled{OrderID: "o-1", CustomerID: "c-1", TotalAmount: gbp(1250), PreviousStatus: order.Paid, Reason: "spät"},
	)
	aggregates := []*processing.Aggregate{account.Decider.Erase(), order.Decider.Erase(), payment.Decider.Erase()}
	bindings, err := processing.Bindings(schemas.FS, aggregates)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := schemas.NewCodec(&registry{}, bindings...)
	if err != nil {
		t.Fatal(err)
	}
	fullNames := map[reflect.Type]string{}
	for _, a := range aggregates {
		for _, typ := range slices.Concat(a.Commands, a.Events) {
			fullNames[typ.Go] = "ledgerline." + a.Name + "." + typ.Name
		}
	}
	untold := maps.Clone(fullNames)
	for _, v := range values {
		want := fullNames[reflect.TypeOf(v)]
		delete(untold, reflect.TypeOf(v))
		data, err := codec.Encode(t.Context(), "topic", v)
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		got, err := codec.Decode(t.Context(), data, time.Time{})
		if err != nil || got.FullName != want || !reflect.DeepEqual(got.Value, v) {
			t.Errorf("%s: got %s %+v, %v, want %+v", want, got.FullName, got.Value, err, v)
		}
	}
	if len(fullNames) != 24 || len(untold) > 0 {
		t.Errorf("%d types, no value of %v", len(fullNames), slices.Sorted(maps.Values(untold)))
	}
	for text, v := range commandsAsJSON {
		name := fullNames[reflect.TypeOf(v)]
		if got, err := codec.FromJSON(name, []byte(text)); err != nil || got != v {
			t.Errorf("%s of %s: got %+v, %v, want %+v", name, text, got, err, v)
		}
	}
}
