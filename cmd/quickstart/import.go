package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/ledgerline/ledgerline/cmd/internal/app"
	"github.com/ledgerline/ledgerline/examples"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/domain/payment"
)

// command is one command that a row of the file stands for.
type command struct {
	aggregate string
	id        string
	// key is what the command's id is derived from: the same row gives the same id again.
	key  string
	data any
}

const currency = "GBP"

// loadCommands reads the file, or the built-in orders. An order is five commands: it is placed and paid,
// and its payment is created, authorised and captured. A refund is one more.
func loadCommands(path string) ([]command, error) {
	data := examples.OnlineRetailOrders
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	rows := csv.NewReader(bytes.NewReader(data))
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("reading orders: %w", err)
	}
	column := map[string]int{}
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"at", "kind", "order_id", "customer_id", "amount_pence"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("reading orders: no column %q", name)
		}
	}
	var commands []command
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return commands, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading orders: %w", err)
		}
		id := row[column["order_id"]]
		line, _ := rows.FieldPos(0)
		at, err := time.Parse(time.RFC3339, row[column["at"]])
		if err != nil {
			return nil, fmt.Errorf("reading order %s at line %d: %w", id, line, err)
		}
		pence, err := strconv.ParseInt(row[column["amount_pence"]], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading order %s at line %d: amount_pence: %w", id, line, err)
		}
		amount := processing.Money{MinorUnits: pence, Currency: currency}
		add := func(aggregate, step string, data any) {
			commands = append(commands, command{aggregate, id, fmt.Sprintf("online-retail-orders:%d:%s", line, step), data})
		}
		paymentID := "pay-" + id
		switch kind := row[column["kind"]]; kind {
		case "order":
			add("order", "place", order.PlaceOrder{CustomerID: row[column["customer_id"]], TotalAmount: amount, PlacedAt: &at})
			add("order", "pay", order.ReceivePayment{Amount: amount})
			add("payment", "create", payment.CreateOrder{Amount: amount})
			add("payment", "authorize", payment.AuthorizePayment{PaymentID: paymentID, Amount: amount})
			add("payment", "capture", payment.CapturePayment{PaymentID: paymentID, Amount: amount})
		case "refund":
			add("payment", "refund", payment.IssueRefund{PaymentID: paymentID, Amount: amount})
		default:
			return nil, fmt.Errorf("reading order %s at line %d: kind is %q, want order or refund", id, line, kind)
		}
	}
}

// requests turns commands into requests.
func requests(commands []command) iter.Seq2[processing.Request, error] {
	return func(yield func(processing.Request, error) bool) {
		for _, c := range commands {
			aggregate, _ := app.App.Aggregate(c.aggregate)
			t, _ := aggregate.Command(reflect.TypeOf(c.data).Name())
			id, err := processing.CommandID(c.key)
			if !yield(processing.Request{Aggregate: aggregate, AggregateID: c.id, Type: t, Data: c.data, ID: id}, err) {
				return
			}
		}
	}
}
