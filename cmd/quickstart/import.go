package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"time"

	"github.com/ledgerline/ledgerline/cmd/internal/app"
	"github.com/ledgerline/ledgerline/examples"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
)

// command is one command that a row of the file stands for.
type command struct {
	orderID string
	// key is what the command's id is derived from: the same row gives the same id again.
	key  string
	data order.Command
}

const currency = "GBP"

// loadCommands reads the file, or the built-in orders, as two commands per order: it is placed, then
// paid. Refunds belong to payments, and are passed over.
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
		if err == io.EOF {
			return commands, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading orders: %w", err)
		}
		if row[column["kind"]] != "order" {
			continue
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
		commands = append(commands,
			command{id, fmt.Sprintf("online-retail-orders:%d:place", line), order.PlaceOrder{CustomerID: row[column["customer_id"]], TotalAmount: amount, PlacedAt: &at}},
			command{id, fmt.Sprintf("online-retail-orders:%d:pay", line), order.ReceivePayment{Amount: amount}},
		)
	}
}

// requests turns commands into requests.
func requests(commands []command) iter.Seq2[processing.Request, error] {
	aggregate, _ := app.App.Aggregate("order")
	place, _ := aggregate.Command("PlaceOrder")
	receive, _ := aggregate.Command("ReceivePayment")
	return func(yield func(processing.Request, error) bool) {
		for _, c := range commands {
			id, err := processing.CommandID(c.key)
			q := processing.Request{Aggregate: aggregate, AggregateID: c.orderID, Type: place, Data: c.data, ID: id}
			if _, ok := c.data.(order.ReceivePayment); ok {
				q.Type = receive
			}
			if !yield(q, err) {
				return
			}
		}
	}
}
