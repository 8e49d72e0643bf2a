package customerorders

import (
	"fmt"
	"slices"
	"strings"
)

// CustomerOrderSummary is the document that HTTP shows of a customer.
type CustomerOrderSummary struct {
	CustomerID string `json:"customer_id"`
	// Currencies are in alphabetical order; one whose orders were all cancelled stays, with zeros. The
	// list is never null.
	Currencies []CurrencySummary `json:"currencies" nullable:"false"`
	Statuses   StatusCounts      `json:"statuses"`
}

// CurrencySummary sums the customer's orders in one currency that are placed and not cancelled.
type CurrencySummary struct {
	Currency string `json:"currency"`
	Orders   int64  `json:"orders"`
	// TotalSpent is in minor units.
	TotalSpent int64 `json:"total_spent"`
}

// StatusCounts counts the customer's orders, in all currencies, by the status that they now have.
type StatusCounts struct {
	Placed    int64 `json:"placed"`
	Paid      int64 `json:"paid"`
	Shipped   int64 `json:"shipped"`
	Cancelled int64 `json:"cancelled"`
}

// view refuses sums that project never makes: they mean that the store holds something else.
func view(id string, sums map[string]int64) (any, error) {
	summary := CustomerOrderSummary{CustomerID: id, Currencies: []CurrencySummary{}}
	currencies := map[string]CurrencySummary{}
	for field, sum := range sums {
		currency, name, ofCurrency := strings.Cut(field, "/")
		c := currencies[currency]
		switch {
		case ofCurrency && name == fieldOrders:
			c.Orders = sum
		case ofCurrency && name == fieldTotalSpent:
			c.TotalSpent = sum
		case field == fieldPlaced:
			summary.Statuses.Placed = sum
		case field == fieldPaid:
			summary.Statuses.Paid = sum
		case field == fieldShipped:
			summary.Statuses.Shipped = sum
		case field == fieldCancelled:
			summary.Statuses.Cancelled = sum
		default:
			return nil, fmt.Errorf("showing customer %q: unknown sum %q", id, field)
		}
		if ofCurrency {
			c.Currency = currency
			currencies[currency] = c
		}
	}
	for _, c := range currencies {
		summary.Currencies = append(summary.Currencies, c)
	}
	slices.SortFunc(summary.Currencies, func(a, b CurrencySummary) int { return strings.Compare(a.Currency, b.Currency) })
	return summary, nil
}
