package schemas

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"
)

// The types of these tests: the package knows none of the project's.
type (
	money struct {
		MinorUnits int64  `avro:"minor_units"`
		Currency   string `avro:"currency"`
	}
	placeOrder struct {
		CustomerID  string     `avro:"customer_id"`
		TotalAmount money      `avro:"total_amount"`
		Discount    *money     `avro:"discount"`
		PlacedAt    *time.Time `avro:"placed_at"`
	}
	shipOrder   struct{}
	orderPlaced struct {
		OrderID     string    `avro:"order_id"`
		CustomerID  string    `avro:"customer_id"`
		TotalAmount money     `avro:"total_amount"`
		Discount    *money    `avro:"discount"`
		PlacedAt    time.Time `avro:"placed_at"`
	}
	paymentReceived struct {
		OrderID    string `avro:"order_id"`
		CustomerID string `avro:"customer_id"`
		Amount     money  `avro:"amount"`
	}
	orderStatus    string
	orderCancelled struct {
		OrderID        string      `avro:"order_id"`
		CustomerID     string      `avro:"customer_id"`
		TotalAmount    money       `avro:"total_amount"`
		PreviousStatus orderStatus `avro:"previous_status"`
		Reason         string      `avro:"reason"`
	}
	eventRef struct {
		ID      string `avro:"id"`
		Type    string `avro:"type"`
		Version int64  `avro:"version"`
	}
	outcome struct {
		CommandID     string      `avro:"command_id"`
		Aggregate     string      `avro:"aggregate"`
		AggregateID   string      `avro:"aggregate_id"`
		CommandType   string      `avro:"command_type"`
		Status        orderStatus `avro:"status"`
		Decision      bool        `avro:"decision"`
		Code          string      `avro:"code"`
		Detail        string      `avro:"detail"`
		Version       int64       `avro:"version"`
		Events        []eventRef  `avro:"events"`
		CommandOffset int64       `avro:"command_offset"`
		BodyHash      []byte      `avro:"body_hash"`
		Time          time.Time   `avro:"time"`
		Offset        int64       `avro:"-"`
	}
)

const everythingText = `{"type":"record","name":"Everything","namespace":"test","fields":[
	{"name":"text","type":"string","default":"none"},
	{"name":"small","type":"int","default":-1},
	{"name":"large","type":["null","long"],"default":null},
	{"name":"yes","type":"boolean","default":true},
	{"name":"ratio","type":"double","default":0.5},
	{"name":"single","type":"float","default":1},
	{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"],"default":"A"},"default":"B"},
	{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
		{"name":"article","type":"string"},{"name":"count","type":"long"}]}},"default":[]},
	{"name":"labels","type":{"type":"map","values":"string"},"default":{}},
	{"name":"gift","type":["null","Line"],"default":null},
	{"name":"more","type":["null","Everything"],"default":null},
	{"name":"at","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},
	{"name":"last","type":["string","null"],"default":"z"}]}`

type (
	line struct {
		Article string `avro:"article"`
		Count   int64  `avro:"count"`
	}
	everything struct {
		Text   string            `avro:"text"`
		Small  int32             `avro:"small"`
		Large  *int64            `avro:"large"`
		Yes    bool              `avro:"yes"`
		Ratio  float64           `avro:"ratio"`
		Single float32           `avro:"single"`
		Kind   string            `avro:"kind"`
		Lines  []line            `avro:"lines"`
		Labels map[string]string `avro:"labels"`
		Gift   *line             `avro:"gift"`
		More   *everything       `avro:"more"`
		At     *time.Time        `avro:"at"`
		Last   *string           `avro:"last"`
	}
)

func bind[T any](s *Schema) Binding {
	return Binding{Version: version[T](s)}
}

func version[T any](s *Schema) Version {
	return Version{Schema: s, Go: reflect.TypeFor[T](), New: func() any { return new(T) }, Value: func(p any) any { return *p.(*T) }}
}

func mustParse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// embedded returns the newest version of a schema of ours, by folder and simple name.
func embedded(t testing.TB, dir, name string) *Schema {
	t.Helper()
	loaded, err := Load(FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	if loaded[name] == nil {
		t.Fatalf("no schema %s in %s", name, dir)
	}
	return loaded[name][len(loaded[name])-1]
}

// registry keeps schemas in memory and counts what it is asked.
type registry struct {
	mu       sync.Mutex
	texts    map[int]string
	subjects map[string]int
	asked    int
	fail     error
	// hold, if set, is waited for in every call.
	hold func(context.Context) error
}

// register stores a schema and returns its id. The first id is 1000, so that its bytes are not all zero.
func (r *registry) register(subject, text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil {
		r.texts, r.subjects = map[int]string{}, map[string]int{}
	}
	id := 1000 + len(r.texts)
	r.texts[id], r.subjects[subject+"\n"+text] = text, id
	return id
}

func (r *registry) ask(ctx context.Context) error {
	r.mu.Lock()
	r.asked++
	fail, hold := r.fail, r.hold
	r.mu.Unlock()
	if hold != nil {
		if err := hold(ctx); err != nil {
			return err
		}
	}
	return fail
}

func (r *registry) SchemaByID(ctx context.Context, id int) (string, error) {
	if err := r.ask(ctx); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text, ok := r.texts[id]
	if !ok {
		return "", fmt.Errorf("id %d: %w", id, ErrNotRegistered)
	}
	return text, nil
}

func (r *registry) SchemaID(ctx context.Context, subject, text string) (int, error) {
	if err := r.ask(ctx); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.subjects[subject+"\n"+text]
	if !ok {
		return 0, fmt.Errorf("subject %s: %w", subject, ErrNotRegistered)
	}
	return id, nil
}

const topic = "order.events"

// newCodec returns a codec whose bindings are registered for topic.
func newCodec(t testing.TB, bindings ...Binding) (*Codec, *registry) {
	t.Helper()
	r := &registry{}
	for _, b := range bindings {
		r.register(Subject(topic, b.Schema.FullName()), b.Schema.Text())
	}
	c, err := NewCodec(r, bindings...)
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

// orderBindings are of all our schemas that the tests have types for.
func orderBindings(t testing.TB) []Binding {
	return []Binding{
		bind[placeOrder](embedded(t, "order", "PlaceOrder")),
		bind[shipOrder](embedded(t, "order", "ShipOrder")),
		bind[orderPlaced](embedded(t, "order", "OrderPlaced")),
		bind[paymentReceived](embedded(t, "order", "PaymentReceived")),
		bind[orderCancelled](embedded(t, "order", "OrderCancelled")),
		bind[outcome](embedded(t, ".", "Outcome")),
		bind[everything](mustParse(t, everythingText)),
	}
}

func ptr[T any](v T) *T { return &v }

// samples has a value or two of each type of orderBindings.
func samples() []any {
	at := time.Date(2026, 11, 23, 2, 14, 0, 123e6, time.UTC)
	return []any{
		placeOrder{CustomerID: "17850", TotalAmount: money{13912, "GBP"}},
		placeOrder{CustomerID: "17850", TotalAmount: money{13912, "GBP"}, Discount: &money{-5, "GBP"}, PlacedAt: &at},
		shipOrder{},
		orderPlaced{OrderID: "536365", CustomerID: "17850", TotalAmount: money{13912, "GBP"}, Discount: &money{100, "GBP"}, PlacedAt: at},
		paymentReceived{OrderID: "536365", CustomerID: "17850", Amount: money{1 << 40, "GBP"}},
		orderCancelled{OrderID: "536365", CustomerID: "17850", TotalAmount: money{1, "EUR"}, PreviousStatus: "PAID", Reason: "zu spät"},
		outcome{CommandID: "c", Aggregate: "order", AggregateID: "o-1", CommandType: "PlaceOrder", Status: "ACCEPTED", Decision: true, Version: 3,
			Events: []eventRef{{"e1", "OrderPlaced", 2}, {"e2", "PaymentReceived", 3}}, CommandOffset: 1207, BodyHash: []byte{0, 255, 7}, Time: at},
		everything{Text: "t", Small: -7, Large: ptr(int64(9)), Ratio: 0.25, Single: 1.5, Kind: "B", Lines: []line{{"a", 1}, {"b", 2}},
			Labels: map[string]string{"x": "1", "y": "2", "z": "3"}, Gift: &line{"c", 3},
			More: &everything{Kind: "A", Lines: []line{}, Labels: map[string]string{}}, At: &at, Last: ptr("l")},
	}
}
