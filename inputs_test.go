package ledgerline_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline"
)

// TestBadCommandsOverHTTP sends what cannot be decided: nothing of it comes to the log.
func TestBadCommandsOverHTTP(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	c, p := newAPI(t, l.URL), newPlain(t, l.Connection)
	const place, refund = "/v1/orders/o-1/place-order", "/v1/payments/o-1/issue-refund"
	for _, row := range []struct {
		name, path, body string
		status           int
		code, field      string
	}{
		{"unknown command", "/v1/orders/o-1/eat-order", `{}`, 404, "unknown-command", ""},
		{"unknown collection", "/v1/cakes/o-1/place-order", `{}`, 404, "unknown-resource", ""},
		{"no JSON", place, `{"customer_id":`, 400, "invalid-command", ""},
		{"no fields", place, `{}`, 400, "invalid-command", "customer_id"},
		{"unknown field", place, `{"customer_id":"ada","total_amount":{"minor_units":1,"currency":"GBP"},"tip":1}`, 400, "invalid-command", "tip"},
		{"another type", place, `{"customer_id":7,"total_amount":{"minor_units":1,"currency":"GBP"}}`, 400, "invalid-command", "customer_id"},
		{"a float", place, `{"customer_id":"ada","total_amount":{"minor_units":1.5,"currency":"GBP"}}`, 422, "not-an-integer", "total_amount.minor_units"},
		{"too much money", place, placing("ada", 10_000_000_000_001), 400, "invalid-command", "total_amount.minor_units"},
		{"no id", "/v1/orders/a%20b/place-order", placing("ada", 1), 400, "invalid-id", "id"},
		{"no customer's id", place, placing("a/b", 1), 400, "invalid-command", "customer_id"},
		{"a refund of nothing", refund, `{"payment_id":"p","amount":{"minor_units":0,"currency":"GBP"}}`, 400, "invalid-command", "amount.minor_units"},
		{"over 1 MiB", place, placing(strings.Repeat("a", 1<<20), 1), 413, "too-large", ""},
	} {
		a := c.post(row.path, row.body)
		d := a.decided(t)
		if a.Status != row.status || d.Code != row.code || d.Field != row.field || a.Header.Get("Content-Type") != "application/problem+json" || a.position() != "" {
			t.Errorf("%s: %d %s", row.name, a.Status, a.Body)
		}
	}
	if a := c.post(place, placing("ada", 1)); a.Status != http.StatusCreated {
		t.Errorf("a good one after them: %d %s", a.Status, a.Body)
	}
	for topic, want := range map[string]int{"order.commands": 1, "order.events": 1, "order.dead-letters": 0, "payment.commands": 0} {
		if got := len(p.read(topic)); got != want {
			t.Errorf("%s has %d records, want %d", topic, got, want)
		}
	}
}

// TestBadCommandsOverKafka produces what cannot be decided, all into one partition: each is answered,
// what cannot be read is kept as it came, and the partition goes on.
func TestBadCommandsOverKafka(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	p := newPlain(t, l.Connection)
	const topic, key = "order.commands", "o-1"
	place := act{"PlaceOrder", map[string]any{"customer_id": "ada", "total_amount": gbp(5)}}
	avro := func(data map[string]any) []byte {
		return p.commandRecord("order", key, "", "avro", act{"PlaceOrder", data}).Value
	}
	good := avro(place.data)
	event := p.encode("order.events-ledgerline.order.OrderShipped", map[string]any{"order_id": key, "customer_id": "ada"})
	asJSON := func(fullName string) []string {
		return []string{"content-type", "application/json", "ce_type", fullName}
	}
	rows := []struct {
		name    string
		value   []byte
		headers []string
		code    string
		kept    bool // as a dead letter
	}{
		{"a type that nobody knows", []byte(`{}`), asJSON("ledgerline.order.EatOrder"), "unknown-command-type", true},
		{"a type of another aggregate", []byte(`{"amount":{"minor_units":5,"currency":"GBP"}}`), asJSON("ledgerline.account.DepositMoney"), "unknown-command-type", true},
		{"an event", event, nil, "unknown-command-type", true},
		{"JSON that is none", []byte(`{"reason":`), asJSON("ledgerline.order.CancelOrder"), "undecodable", true},
		{"JSON that lacks a field", []byte(`{}`), asJSON("ledgerline.order.CancelOrder"), "undecodable", true},
		{"money as a float", []byte(`{"amount":{"minor_units":1.5,"currency":"GBP"}}`), asJSON("ledgerline.order.ReceivePayment"), "undecodable", true},
		{"no frame", []byte("PlaceOrder"), nil, "undecodable", true},
		{"nothing", nil, nil, "undecodable", true},
		{"a schema that nobody registered", append(binary.BigEndian.AppendUint32([]byte{0}, 1<<20), good[5:]...), nil, "undecodable", true},
		{"Avro that ends too early", good[:len(good)-1], nil, "undecodable", true},
		{"Avro with something behind it", append(bytes.Clone(good), 1), nil, "undecodable", true},
		{"too large", avro(map[string]any{"customer_id": strings.Repeat("a", 1<<20), "total_amount": gbp(5)}), nil, "too-large", true},
		{"an empty reason", []byte(`{"reason":""}`), asJSON("ledgerline.order.CancelOrder"), "invalid-command", false},
		{"a version that is no number", good, []string{"ce_expectedversion", "three"}, "invalid-command", false},
	}
	var records []*kgo.Record
	for i, row := range rows {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(key), Value: row.value, Headers: header(append(row.headers, "ce_id", uuid.NewSHA1(uuid.Nil, []byte(row.name)).String(), "mine", itoa(i))...)})
	}
	anonymous := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte("?")} // its id is that of its place
	last := p.commandRecord("order", key, uuid.Must(uuid.NewV7()).String(), "avro", place)
	p.append(append(records, anonymous, last)...)

	outcomes := map[string]map[string]any{} // by the offset of the command
	await(t, "an outcome of each", func() error {
		for _, r := range p.read("order.outcomes") {
			outcomes[headerOf(r, "ce_commandoffset")] = p.decode(r.Value)
		}
		if len(outcomes) != len(rows)+2 {
			return fmt.Errorf("there are %d", len(outcomes))
		}
		return nil
	})
	letters := map[string]*kgo.Record{} // by position
	for _, r := range p.read("order.dead-letters") {
		letters[headerOf(r, "ledgerline-position")] = r
	}
	kept := 1 // the anonymous one
	for i, row := range rows {
		r := records[i]
		o := outcomes[fmt.Sprint(r.Offset)]
		if o["status"] != "FAILED" || o["code"] != row.code || o["decision"] != false || o["command_id"] != headerOf(r, "ce_id") || o["detail"] == "" {
			t.Errorf("%s: %v, want FAILED %s", row.name, o, row.code)
		}
		letter := letters[fmt.Sprintf("order/%d@%d", r.Partition, r.Offset)]
		if (letter != nil) != row.kept {
			t.Errorf("%s: is it a dead letter? %v", row.name, letter != nil)
		}
		if letter == nil {
			continue
		}
		kept++
		if !bytes.Equal(letter.Value, r.Value) || string(letter.Key) != key || headerOf(letter, "ledgerline-cause") != row.code || headerOf(letter, "ledgerline-detail") == "" {
			t.Errorf("%s: the dead letter is %v", row.name, letter.Headers)
		}
		for _, h := range r.Headers {
			if headerOf(letter, h.Key) != string(h.Value) {
				t.Errorf("%s: the dead letter has %s %q, the command %q", row.name, h.Key, headerOf(letter, h.Key), h.Value)
			}
		}
	}
	if o := outcomes[fmt.Sprint(anonymous.Offset)]; o["code"] != "undecodable" || len(o["command_id"].(string)) != 36 {
		t.Errorf("one without an id: %v", o)
	}
	if o := outcomes[fmt.Sprint(last.Offset)]; o["status"] != "ACCEPTED" || o["version"] != int64(1) {
		t.Errorf("a good one after them: %v", o)
	}
	if len(letters) != kept {
		t.Errorf("there are %d dead letters, want %d", len(letters), kept)
	}
	if got := p.eventsOf("order"); len(got) != 1 || len(got[key]) != 1 {
		t.Errorf("the log has events %v, want one", got)
	}
}

// TestNewerSchema has another team register newer schemas of a command and of an event, and write with
// them: both are read, and what is written besides stays as it was.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 2)
	processor := serve(t, "processor", ledgerline.RunProcessor, conn)
	ingest := serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	c, queries, p := newAPI(t, "http://"+ingest.http), newAPI(t, "http://"+processor.http), newPlain(t, conn)
	for _, subject := range []string{"order.commands-ledgerline.order.PlaceOrder", "order.events-ledgerline.order.OrderPlaced"} {
		p.evolve(subject)
	}
	if a := c.post("/v1/orders/o-0/place-order", placing("ada", 1)); a.Status != http.StatusCreated {
		t.Errorf("placing beside newer schemas: %d %s", a.Status, a.Body)
	}
	command := act{"PlaceOrder", map[string]any{"customer_id": "ada", "total_amount": gbp(20), "channel": "web"}}
	p.append(p.commandRecord("order", "o-1", uuid.Must(uuid.NewV7()).String(), "avro", command))
	event := p.encode("order.events-ledgerline.order.OrderPlaced", map[string]any{
		"order_id": "o-2", "customer_id": "ada", "total_amount": gbp(300), "discount": nil, "placed_at": int64(0), "channel": "web",
	})
	p.append(eventRecord("order.events", "o-2", "ledgerline.order.OrderPlaced", 1, event))

	shown := func() error {
		for id, units := range map[string]int{"o-0": 1, "o-1": 20, "o-2": 300} {
			if err := shows(queries, "/v1/orders/"+id, fmt.Sprintf(`{"status":"placed","amount":{"minor_units":%d,"currency":"GBP"},"version":1}`, units), nil); err != nil {
				return err
			}
		}
		if err := shows(queries, "/v1/customers/ada", `{"currencies":[{"currency":"GBP","orders":3,"total_spent":321}]}`, nil); err != nil {
			return err
		}
		if queries.get("/v1/orders/o-2/events").Status != http.StatusOK {
			return errors.New("its events are not listed yet")
		}
		return nil
	}
	await(t, "the orders written with newer schemas", shown)
	var events struct{ Items []listed }
	queries.get("/v1/orders/o-2/events").into(t, &events)
	if len(events.Items) != 1 || strings.Contains(string(events.Items[0].Data), "channel") {
		t.Errorf("the event of the newer schema is shown as %+v", events.Items)
	}
	// Whoever recovers the partition reads the event too.
	ingest.stop()
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	if a := newAPI(t, "http://"+ingest.http).post("/v1/orders/o-2/receive-payment", paying(300)); a.Status != http.StatusCreated || a.decided(t).Version != 2 {
		t.Errorf("paying the order of the newer event: %d %s", a.Status, a.Body)
	}
	if p := run(t, ledgerline.RunProvision, conn, "check"); p.code != ledgerline.ExitOK {
		t.Errorf("provision check beside newer schemas: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
}

// provision makes topics and schemas.
func provision(t *testing.T, conn ledgerline.Connection, partitions int) {
	t.Helper()
	if p := run(t, ledgerline.RunProvision, conn, "apply", "--partitions", itoa(partitions)); p.code != ledgerline.ExitOK {
		t.Fatalf("provision: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
}

// eventRecord is an event as one who is not of this house writes it.
func eventRecord(topic, id, fullName string, version int64, value []byte) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(id), Value: value, Headers: header(
		"ce_id", uuid.NewString(), "ce_type", fullName, "ce_time", "2026-01-02T03:04:05Z", "ce_sequence", itoa(int(version)),
		"ce_commandid", uuid.NewString(), "ce_commandoffset", "0", "ce_last", "true", "content-type", "application/avro",
	)}
}

// evolve registers a newer schema under a subject: with a field channel, which has a default.
func (p *plain) evolve(subject string) {
	p.t.Helper()
	var newest struct{ Schema string }
	p.ask("/subjects/"+subject+"/versions/latest", &newest)
	var schema map[string]any
	if err := json.Unmarshal([]byte(newest.Schema), &schema); err != nil {
		p.t.Fatal(err)
	}
	schema["fields"] = append(schema["fields"].([]any), map[string]any{"name": "channel", "type": "string", "default": "shop"})
	p.register(subject, jsonText(schema))
}

// register registers a schema under a subject.
func (p *plain) register(subject, schema string) {
	p.t.Helper()
	response, err := p.http.Post(p.conn.RegistryURL+"/subjects/"+subject+"/versions", "application/json", strings.NewReader(jsonText(map[string]any{"schema": schema})))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("registering a schema of %s: %s %s, %v", subject, response.Status, text, err)
	}
}
