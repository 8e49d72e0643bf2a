package suite

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// provisioned: what provision has made is as it should be, and applying it again changes nothing.
func provisioned(t *testing.T, u *suite) {
	if out := u.must(t, provision, "apply"); !strings.HasPrefix(out, "nothing to do") {
		t.Errorf("applied again: %s", out)
	}
	if out := u.must(t, provision, "check"); strings.TrimSpace(out) != "no difference" {
		t.Errorf("check: %s", out)
	}
}

// overHTTP goes through what a client of the API meets, in order: each row is one request.
func overHTTP(t *testing.T, u *suite) {
	id, ada := u.id("o"), u.id("ada")
	place, pay := "/v1/orders/"+id+"/place-order", "/v1/orders/"+id+"/receive-payment"
	key := u.id("key")
	rows := []struct {
		name, path, body string
		headers          []string
		status           int
		code, etag       string
		events           int // of the order in the log afterwards
	}{
		{name: "no such order yet", path: pay, body: paying(1250), status: 404, code: "order-not-found"},
		{name: "placed", path: place, body: placing(ada, 1250), headers: []string{"Idempotency-Key", key}, status: 201, etag: `"1"`, events: 1},
		{name: "same key", path: place, body: placing(ada, 1250), headers: []string{"Idempotency-Key", key}, status: 201, etag: `"1"`, events: 1},
		{name: "same key, other body", path: place, body: placing(ada, 1251), headers: []string{"Idempotency-Key", key}, status: 422, code: "idempotency-key-reused", events: 1},
		{name: "same body, other key", path: place, body: placing(ada, 1250), status: 409, code: "order-exists", events: 1},
		{name: "must not exist", path: place, body: placing(ada, 1250), headers: []string{"If-None-Match", "*"}, status: 412, code: "version-conflict", etag: `"1"`, events: 1},
		{name: "wrong version", path: pay, body: paying(1250), headers: []string{"If-Match", `"7"`}, status: 412, code: "version-conflict", etag: `"1"`, events: 1},
		{name: "wrong amount", path: pay, body: paying(1249), status: 409, code: "amount-mismatch", events: 1},
		{name: "money as a float", path: pay, body: `{"amount":{"minor_units":12.50,"currency":"GBP"}}`, status: 422, code: "not-an-integer", events: 1},
		{name: "no JSON", path: pay, body: `{`, status: 400, code: "invalid-command", events: 1},
		{name: "unknown command", path: "/v1/orders/" + id + "/eat", body: `{}`, status: 404, code: "unknown-command", events: 1},
		{name: "right version", path: pay, body: paying(1250), headers: []string{"If-Match", `"1"`}, status: 201, etag: `"2"`, events: 2},
		{name: "shipped", path: "/v1/orders/" + id + "/ship-order", status: 201, etag: `"3"`, events: 3},
		{name: "cancelled too late", path: "/v1/orders/" + id + "/cancel-order", body: `{"reason":"late"}`, status: 409, code: "order-already-shipped", events: 3},
	}
	answers := map[string]answer{}
	for _, row := range rows {
		a := u.post(t, row.path, row.body, row.headers...)
		answers[row.name] = a
		if a.Status != row.status || a.code() != row.code || a.Header.Get("ETag") != row.etag || (a.position() != "") != (row.status == http.StatusCreated) {
			t.Errorf("%s: got %s, ETag %s, position %s", row.name, a, a.Header.Get("ETag"), a.position())
		}
		if got := len(u.events(t)[id]); got != row.events {
			t.Errorf("%s: %d events of the order in the log, want %d", row.name, got, row.events)
		}
	}
	first, again := answers["placed"], answers["same key"]
	if string(again.Body) != string(first.Body) || again.position() != first.position() {
		t.Errorf("the same again: %s at %s, the first time %s at %s", again, again.position(), first, first.position())
	}
	u.placed[id] = placed{customer: ada, pence: 1250, position: answers["shipped"].position()}
	shown := u.get(t, "/v1/orders/"+id, "Ledgerline-Position", answers["shipped"].position())
	if shown.Status != http.StatusOK || !strings.HasPrefix(shown.Header.Get("ETag"), `"3-`) || !strings.Contains(string(shown.Body), `"shipped"`) {
		t.Errorf("the order is shown as %s", shown)
	}
	same, err := try(t.Context(), http.MethodGet, u.system.Commands()+"/v1/orders/"+id, "", "Ledgerline-Position", answers["shipped"].position())
	if err != nil || same.String() != shown.String() {
		t.Errorf("ingest shows the order as %s, %v, the processor as %s", same, err, shown)
	}
	if a := u.get(t, "/v1/orders/"+u.id("nobody")); a.Status != http.StatusNotFound {
		t.Errorf("an order that is not there: %s", a)
	}
}

// refusals goes through an account and a payment: what each may and may not do.
func refusals(t *testing.T, u *suite) {
	account, payment := "/v1/accounts/"+u.id("a")+"/", "/v1/payments/"+u.id("p")+"/"
	opened := `{"account_name":"Ada","initial_balance":{"minor_units":0,"currency":"GBP"}}`
	with := func(pence int64) string {
		return fmt.Sprintf(`{"payment_id":"pay-1","amount":{"minor_units":%d,"currency":"GBP"}}`, pence)
	}
	for _, row := range []struct{ path, body, want string }{
		{account + "deposit-money", paying(5), "404 account-not-found"},
		{account + "create-account", opened, "201 "},
		{account + "create-account", opened, "409 account-exists"},
		{account + "deposit-money", paying(0), "422 amount-not-positive"},
		{account + "deposit-money", paying(500), "201 "},
		{account + "deposit-money", `{"amount":{"minor_units":5,"currency":"EUR"}}`, "422 currency-mismatch"},
		{account + "withdraw-money", paying(501), "409 insufficient-funds"},
		{account + "close-account", `{}`, "409 balance-not-zero"},
		{account + "withdraw-money", paying(500), "201 "},
		{account + "close-account", `{}`, "201 "},
		{account + "deposit-money", paying(5), "409 account-closed"},
		{payment + "authorize-payment", with(70), "404 order-not-found"},
		{payment + "create-order", paying(70), "201 "},
		{payment + "capture-payment", with(70), "409 not-authorized"},
		{payment + "authorize-payment", with(71), "409 amount-mismatch"},
		{payment + "authorize-payment", with(70), "201 "},
		{payment + "capture-payment", with(70), "201 "},
		{payment + "issue-refund", with(71), "409 refund-exceeds-capture"},
		{payment + "issue-refund", with(20), "201 "},
	} {
		if a := u.post(t, row.path, row.body); fmt.Sprint(a.Status, " ", a.code()) != row.want {
			t.Errorf("%s %s: %s, want %s", row.path, row.body, a, row.want)
		}
	}
}

// step is one command of an order, as any client may send it.
type step struct {
	order, command string
	data           map[string]any
	// key tells the command from others; two steps of one key are one command, sent twice.
	key string
	// version is what the sender expects the order's to be, "" for whatever it is.
	version string
}

// scenario has an outcome of each kind.
func scenario() ([]step, []result) {
	money := func(pence int64) map[string]any { return map[string]any{"minor_units": pence, "currency": "GBP"} }
	place := map[string]any{"customer_id": "way-in", "total_amount": money(1250)}
	pay := map[string]any{"amount": money(1250)}
	return []step{
			{order: "a", command: "ReceivePayment", data: pay, key: "too early"},
			{order: "a", command: "PlaceOrder", data: place, key: "place"},
			{order: "a", command: "PlaceOrder", data: place, key: "place"},
			{order: "a", command: "PlaceOrder", data: map[string]any{"customer_id": "eve", "total_amount": money(1)}, key: "place"},
			{order: "a", command: "ReceivePayment", data: pay, key: "stale", version: "9"},
			{order: "a", command: "ReceivePayment", data: pay, key: "pay", version: "1"},
			{order: "a", command: "ShipOrder", data: map[string]any{}, key: "ship"},
			{order: "b", command: "PlaceOrder", data: place, key: "place"},
			{order: "b", command: "CancelOrder", data: map[string]any{"reason": "changed my mind"}, key: "cancel"},
		}, []result{
			{Status: "REFUSED", Code: "order-not-found", Decision: true},
			{Status: "ACCEPTED", Decision: true, Version: 1, Events: "OrderPlaced 1"},
			{Status: "ACCEPTED", Version: 1, Events: "OrderPlaced 1"},
			{Status: "FAILED", Code: "idempotency-key-reused", Version: 1},
			{Status: "REFUSED", Code: "version-conflict", Decision: true, Version: 1},
			{Status: "ACCEPTED", Decision: true, Version: 2, Events: "PaymentReceived 2"},
			{Status: "ACCEPTED", Decision: true, Version: 3, Events: "OrderShipped 3"},
			{Status: "ACCEPTED", Decision: true, Version: 1, Events: "OrderPlaced 1"},
			{Status: "ACCEPTED", Decision: true, Version: 2, Events: "OrderCancelled 2"},
		}
}

// everyWayIn sends the same commands over HTTP, in Avro and in JSON, to the partitions of their keys and to
// those that librdkafka's default would choose: the outcomes in the log are the same.
func everyWayIn(t *testing.T, u *suite) {
	n := u.kafka.partitions(t, u.topic("order.commands"))
	var wrong string // makes the two ways of hashing differ for each order
	for i := 0; wrong == ""; i++ {
		s := u.id("-crc-%d", i)
		if crc32Of("a"+s, n) != belongs("a"+s, n) && crc32Of("b"+s, n) != belongs("b"+s, n) {
			wrong = s
		}
	}
	for _, way := range []struct {
		name, suffix string
		send         func(step, string)
	}{
		{"HTTP", u.id("-http"), func(s step, id string) { u.sendHTTP(t, s, id) }},
		{"Avro", u.id("-avro"), func(s step, id string) { u.kafka.produceAvro(t, s, id, belongs(s.order, n)) }},
		{"JSON", u.id("-json"), func(s step, id string) { u.kafka.produceJSON(t, s, id, belongs(s.order, n)) }},
		{"Avro in the wrong partition", wrong, func(s step, id string) { u.kafka.produceAvro(t, s, id, crc32Of(s.order, n)) }},
	} {
		ids := map[string]string{}
		steps, want := scenario()
		for i, s := range steps {
			s.order += way.suffix
			id, known := ids[s.order+s.key]
			if !known {
				id = uuid.Must(uuid.NewV7()).String()
				ids[s.order+s.key] = id
			}
			before := len(u.kafka.results(t, s.order, id))
			way.send(s, id)
			await(t, "the outcome of "+s.key, func() error {
				found := u.kafka.results(t, s.order, id)
				if len(found) == before {
					return fmt.Errorf("%s: there are %d", way.name, before)
				}
				if got := found[len(found)-1]; got != want[i] {
					t.Errorf("%s: %s gave %+v, want %+v", way.name, s.key, got, want[i])
				}
				return nil
			})
		}
		types := u.events(t)
		if a, b := types["a"+way.suffix], types["b"+way.suffix]; fmt.Sprint(a, b) != "[OrderPlaced PaymentReceived OrderShipped] [OrderPlaced OrderCancelled]" {
			t.Errorf("%s: events are %v and %v", way.name, a, b)
		}
	}
	for _, topic := range []string{"order.events", "order.outcomes"} {
		for _, r := range u.kafka.read(t, u.topic(topic)) {
			if r.Partition != belongs(string(r.Key), n) {
				t.Errorf("%s has a record of %s in partition %d, where it does not belong", topic, r.Key, r.Partition)
			}
		}
	}
}

// crc32Of is librdkafka's default, consistent_random, of a key that is not empty.
func crc32Of(key string, partitions int32) int32 {
	return int32(crc32.ChecksumIEEE([]byte(key)) % uint32(partitions))
}

func (u *suite) sendHTTP(t *testing.T, s step, id string) {
	t.Helper()
	path := map[string]string{"PlaceOrder": "place-order", "ReceivePayment": "receive-payment", "ShipOrder": "ship-order", "CancelOrder": "cancel-order"}[s.command]
	headers := []string{"Idempotency-Key", id}
	if s.version != "" {
		headers = append(headers, "If-Match", `"`+s.version+`"`)
	}
	body, err := json.Marshal(s.data)
	if err != nil {
		t.Fatal(err)
	}
	if a := u.post(t, "/v1/orders/"+s.order+"/"+path, string(body), headers...); a.Status >= http.StatusInternalServerError {
		t.Fatalf("%s: %s", s.key, a)
	}
}

// events returns the types of the events of each order, in order, and checks that versions have no gap.
func (u *suite) events(t *testing.T) map[string][]string {
	t.Helper()
	types := map[string][]string{}
	for _, r := range u.kafka.read(t, u.topic("order.events")) {
		id := string(r.Key)
		types[id] = append(types[id], strings.TrimPrefix(headerOf(r, "ce_type"), "ledgerline.order."))
		if version := headerOf(r, "ce_sequence"); version != fmt.Sprint(len(types[id])) {
			t.Errorf("event %d of order %s has version %s", len(types[id]), id, version)
		}
	}
	return types
}

// deadLetter: what nobody can decode is kept, answered where it has an id, and the partition goes on.
func deadLetter(t *testing.T, u *suite) {
	n := u.kafka.partitions(t, u.topic("order.commands"))
	bad, fine := uuid.NewString(), uuid.NewString()
	good := step{order: u.id("after-garbage"), command: "PlaceOrder", data: map[string]any{"customer_id": u.id("ada"), "total_amount": map[string]any{"minor_units": int64(5), "currency": "GBP"}}}
	where := belongs(good.order, n)
	garbage := []byte("\x00\x00\x00\x00\x01\xff")
	u.kafka.produce(t, step{order: good.order}, where, garbage, "ce_id", bad)
	u.kafka.produceAvro(t, good, fine, where)
	await(t, "the decision after the garbage", func() error {
		if found := u.kafka.results(t, good.order, fine); len(found) != 1 || found[0].Status != "ACCEPTED" {
			return fmt.Errorf("got %+v", found)
		}
		return nil
	})
	if found := u.kafka.results(t, good.order, bad); len(found) != 1 || found[0].Status != "FAILED" || found[0].Decision {
		t.Errorf("the garbage was answered with %+v", found)
	}
	kept := slices.DeleteFunc(u.kafka.read(t, u.topic("order.dead-letters")), func(r *kgo.Record) bool { return headerOf(r, "ce_id") != bad })
	if len(kept) != 1 || string(kept[0].Value) != string(garbage) || headerOf(kept[0], "ledgerline-cause") == "" {
		t.Errorf("got dead letters %+v", kept)
	}
}

// sameKeyAtOnce has one command sent by many at once: it is decided once, and all get the same answer.
func sameKeyAtOnce(t *testing.T, u *suite) {
	id, who := u.id("at-once"), u.id("eve")
	var mu sync.Mutex
	bodies := map[string]answer{}
	var group errgroup.Group
	for range 10 {
		group.Go(func() error {
			return awaitErr(t.Context(), "an answer", func() error {
				a, err := try(t.Context(), http.MethodPost, u.system.Commands()+"/v1/orders/"+id+"/place-order", placing(who, 5), "Idempotency-Key", id)
				if err == nil && a.Status != http.StatusCreated {
					err = fmt.Errorf("%s", a)
				}
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				bodies[string(a.Body)] = a
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 1 {
		t.Fatalf("got %d different answers: %v", len(bodies), slices.Collect(maps.Keys(bodies)))
	}
	if events := u.events(t)[id]; len(events) != 1 {
		t.Errorf("got events %v, want one", events)
	}
	for _, a := range bodies {
		u.placed[id] = placed{customer: who, pence: 5, position: a.position()}
	}
}
