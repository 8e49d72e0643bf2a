package ledgerline_test

import (
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/domain/order"
	"github.com/ledgerline/ledgerline/processing/projection/orderstatus"
	"github.com/ledgerline/ledgerline/schemas"
)

// TestAppThatContradictsItself: whoever starts any part of such an App is told what is wrong with it.
func TestAppThatContradictsItself(t *testing.T) {
	t.Parallel()
	named := func(aggregate, model string) ledgerline.App {
		d, m := order.Decider, orderstatus.ReadModel
		d.Aggregate, m.Aggregate, m.Name = aggregate, aggregate, model
		return ledgerline.App{
			Name: "shop", Schemas: schemas.FS,
			Aggregates: []*processing.Aggregate{d.Erase()}, ReadModels: []*processing.ReadModel{m.Erase()},
		}
	}
	twice, stray := named("order", "order-status"), named("order", "order-status")
	twice.ReadModels = append(twice.ReadModels, twice.ReadModels[0])
	stray.ReadModels = named("account", "order-status").ReadModels
	for _, c := range []struct {
		app  ledgerline.App
		want string // "" for nothing
	}{
		{named("order", "order-status"), ""},
		{ledgerline.App{Name: "shop"}, "are required"},
		{twice, "read model order-status is listed twice"},
		{stray, "is made of aggregate account, which is not listed"},
		{named("loyalty points", "order-status"), `aggregate "loyalty points": want a name of lower-case letters`},
		{named("order/item", "order-status"), `aggregate "order/item": want a name`},
		{named(strings.Repeat("a", 65), "order-status"), "want a name"},
		{named("order", "order.status"), `read model "order.status": want a name`},
		{named("order", "{order}"), `read model "{order}": want a name`},
		{named("order", "order-snapshots"), "order-snapshots is listed twice, or keeps an aggregate's snapshots"},
	} {
		p, err := ledgerline.NewProvision(c.app, ledgerline.ProvisionConfig{Connection: ledgerline.Connection{RegistryURL: "http://127.0.0.1:1", Brokers: []string{"127.0.0.1:1"}}})
		if err == nil {
			p.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}
