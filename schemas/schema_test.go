package schemas

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twmb/avro"
)

func TestEmbeddedSchemas(t *testing.T) {
	want := map[string][]string{
		"account": {"AccountClosed", "AccountCreated", "CloseAccount", "CreateAccount", "DepositMoney", "MoneyDeposited", "MoneyWithdrawn", "WithdrawMoney"},
		"order":   {"CancelOrder", "OrderCancelled", "OrderPlaced", "OrderShipped", "PaymentReceived", "PlaceOrder", "ReceivePayment", "ShipOrder"},
		"payment": {"AuthorizePayment", "CapturePayment", "CreateOrder", "IssueRefund", "OrderCreated", "PaymentAuthorized", "PaymentCaptured", "RefundIssued"},
		".":       {"Outcome"},
	}
	for dir, names := range want {
		loaded, err := Load(FS, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(loaded)); !slices.Equal(got, names) {
			t.Errorf("schemas of %s: got %v, want %v", dir, got, names)
		}
		for name, versions := range loaded {
			namespace := "ledgerline." + strings.TrimPrefix(dir+".", "..")
			var older []string
			for _, s := range versions {
				if s.Name() != name || s.FullName() != namespace+name {
					t.Errorf("schema %s calls itself %s, %s", name, s.Name(), s.FullName())
				}
				older = append(older, s.Text())
				if err := Compatible(s.Text(), older...); err != nil {
					t.Error(err)
				}
			}
		}
	}
	files, err := fs.Glob(FS, "*/*.avsc")
	if err != nil || len(files) != 26 {
		t.Fatalf("files below the root: %v, %v", files, err)
	}
}

func TestEverythingIsDocumented(t *testing.T) {
	for _, dir := range []string{".", "account", "order", "payment"} {
		loaded, err := Load(FS, dir)
		if err != nil {
			t.Fatal(err)
		}
		for name, versions := range loaded {
			for _, s := range versions {
				undocumented(t, name, avro.MustParse(s.Text()).Root())
			}
		}
	}
}

func undocumented(t *testing.T, path string, n *avro.SchemaNode) {
	if n == nil {
		return
	}
	if n.Name != "" && n.Doc == "" {
		t.Errorf("%s: %s has no doc", path, n.Name)
	}
	for i, f := range n.Fields {
		if f.Doc == "" {
			t.Errorf("%s.%s has no doc", path, f.Name)
		}
		undocumented(t, path+"."+f.Name, &n.Fields[i].Type)
	}
	for i := range n.Branches {
		undocumented(t, path, &n.Branches[i])
	}
	undocumented(t, path+"[]", n.Items)
}

func TestLoadRefuses(t *testing.T) {
	record := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{"type":"record","name":"` + name + `","namespace":"a.b","fields":[]}`)}
	}
	for name, row := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"another name": {fstest.MapFS{"d/Other.avsc": record("Placed")}, "holds record a.b.Placed: call the file Placed.avsc"},
		"no schema":    {fstest.MapFS{"d/Bad.avsc": {Data: []byte("{")}}, "loading schema d/Bad.avsc"},
		"no record":    {fstest.MapFS{"d/Bad.avsc": {Data: []byte(`"string"`)}}, "want a record, got string"},
		"no folder":    {fstest.MapFS{}, "loading schemas of d"},
		"no newest":    {fstest.MapFS{"d/Placed.1.avsc": record("Placed")}, "there is no Placed.avsc, the newest version"},
		"a gap":        {fstest.MapFS{"d/Placed.2.avsc": record("Placed"), "d/Placed.avsc": record("Placed")}, "there is no Placed.1.avsc"},
		"version 0":    {fstest.MapFS{"d/Placed.0.avsc": record("Placed"), "d/Placed.avsc": record("Placed")}, "call the file Placed.avsc, or Placed.1.avsc"},
		"no number":    {fstest.MapFS{"d/Placed.old.avsc": record("Placed"), "d/Placed.avsc": record("Placed")}, "call the file Placed.avsc, or Placed.1.avsc"},
	} {
		if _, err := Load(row.files, "d"); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	loaded, err := Load(fstest.MapFS{"d/Placed.avsc": record("Placed"), "d/README.md": {}, "d/deeper/Wrong.avsc": record("Paid")}, "d")
	if err != nil || len(loaded) != 1 || len(loaded["Placed"]) != 1 || loaded["Placed"][0].FullName() != "a.b.Placed" {
		t.Errorf("got %v, %v", loaded, err)
	}
}

func TestSubject(t *testing.T) {
	if got, want := Subject("order.events", "ledgerline.order.OrderPlaced"), "order.events-ledgerline.order.OrderPlaced"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
