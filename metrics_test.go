package ledgerline_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline"
)

// families are the metrics of a process by name.
type families map[string]*dto.MetricFamily

// scrape reads /metrics as Prometheus would.
func (s *served) scrape() families {
	s.t.Helper()
	a := s.ask("/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(string(a.Body)))
	if err != nil || a.Status != http.StatusOK {
		s.t.Fatalf("%s: reading metrics: %d, %v\n%s", s.name, a.Status, err, a.Body)
	}
	return found
}

// series returns the values of a metric by its labels, as `a=1,b=2`; of a histogram, the counts.
func (f families) series(name string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range f[name].GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		all[strings.Join(labels, ",")] = value
	}
	return all
}

// ours are the names of the metrics that are not the Go runtime's.
func (f families) ours() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f)), func(name string) bool { return !strings.HasPrefix(name, "ledgerline_") })
}

// observedPair is an ingest and a processor that have had some work of each kind.
func observedPair(t *testing.T) (ingest, processor *served) {
	t.Helper()
	_, conn := startEmbedded(t, "")
	provision(t, conn, 2)
	ingest = serve(t, "ingest", ledgerline.RunIngest, conn, "--instance", "one")
	processor = serve(t, "processor", ledgerline.RunProcessor, conn)
	c := newAPI(t, "http://"+ingest.http)
	c.post("/v1/orders/o-1/place-order", placing("ada", 10), "Idempotency-Key", "k")
	placed := c.post("/v1/orders/o-1/place-order", placing("ada", 10), "Idempotency-Key", "k")
	c.post("/v1/orders/o-1/receive-payment", paying(11))
	c.get("/v1/nothing/o-1")
	if a := newAPI(t, "http://"+processor.http).get("/v1/orders/o-1", "Ledgerline-Position", placed.position()); a.Status != http.StatusOK {
		t.Fatalf("order: %d %s", a.Status, a.Body)
	}
	p := newPlain(t, conn)
	for _, partition := range []int32{home("o-2", 2), 1 - home("o-2", 2)} {
		r := &kgo.Record{Topic: "order.commands", Partition: partition, Key: []byte("o-2"), Value: []byte("garbage")}
		if err := p.kgo.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return ingest, processor
}

// TestMetrics holds the figures of a running system to what was done, and docs/metrics.md to all the
// metrics that there are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	ingest, processor := observedPair(t)
	want := map[*served]map[string]map[string]float64{
		ingest: {
			"ledgerline_commands_total": {
				"aggregate=order,result=accepted": 1, "aggregate=order,result=repeat": 1, "aggregate=order,result=refused": 1,
				"aggregate=order,result=failed": 2, "aggregate=order,result=moved": 1, "aggregate=account,result=accepted": 0,
			},
			"ledgerline_dead_letters_total": {"aggregate=order,cause=undecodable": 2},
			"ledgerline_partitions_owned":   {"topic=order.commands": 2, "topic=account.commands": 2, "topic=payment.commands": 2},
			"ledgerline_transactions_total": {"result=aborted": 0, "result=fenced": 0, "result=unknown": 0},
			"ledgerline_http_requests_total": {
				"method=POST,route=/v1/orders/{id}/place-order,status=201": 2, "method=POST,route=/v1/orders/{id}/receive-payment,status=409": 1,
				"method=any,route=/v1/,status=404": 1,
			},
			"ledgerline_http_request_duration_seconds":  {"method=POST,route=/v1/orders/{id}/place-order": 2},
			"ledgerline_last_stable_offset_lag_records": {"partition=0,topic=order.events": 0, "partition=1,topic=payment.outcomes": 0},
			"ledgerline_commands_lag_seconds":           {"partition=0,topic=payment.commands": 0},
			"ledgerline_worker_sessions_ended_total":    {"": 0},
			"ledgerline_ready":                          {"": 1},
		},
		processor: {
			"ledgerline_events_applied_total":       {"projection=order-status": 1, "projection=customer-orders": 1, "projection=history": 1, "projection=payment-status": 0},
			"ledgerline_apply_latency_seconds":      {"projection=order-status": 1, "projection=account-balance": 0},
			"ledgerline_read_model_lag_records":     {"aggregate=order,partition=0,projection=customer-orders": 0, "aggregate=order,partition=1,projection=customer-orders": 0},
			"ledgerline_read_model_lag_seconds":     {"aggregate=order,partition=0,projection=order-status": 0, "aggregate=payment,partition=1,projection=history": 0},
			"ledgerline_builds_running":             {"projection=order-status": 0},
			"ledgerline_build_progress_ratio":       {"projection=order-status": 1},
			"ledgerline_generations_broken_total":   {"projection=order-status": 0},
			"ledgerline_partitions_owned":           {"topic=order.events": 2, "topic=account.events": 2, "topic=payment.events": 2},
			"ledgerline_http_position_wait_seconds": {"projection=order-status,result=held": 1, "projection=order-status,result=in-vain": 0},
			"ledgerline_http_requests_total":        {"method=GET,route=/v1/orders/{id},status=200": 1},
			"ledgerline_ready":                      {"": 1},
		},
	}
	for s, metrics := range want {
		await(t, s.name+"'s metrics", func() error {
			found := s.scrape()
			for name, series := range metrics {
				have := found.series(name)
				for labels, value := range series {
					if got, ok := have[labels]; !ok || got != value {
						return fmt.Errorf("%s{%s} is %v, want %v; there are %v", name, labels, got, value, have)
					}
				}
			}
			return nil
		})
	}
	found := ingest.scrape()
	commits, batches := found.series("ledgerline_transactions_total")["result=committed"], found.series("ledgerline_transaction_commands")[""]
	sum := found["ledgerline_transaction_commands"].GetMetric()[0].GetHistogram().GetSampleSum()
	if commits == 0 || commits != batches || sum != 6 || found.series("ledgerline_transaction_duration_seconds")[""] != commits {
		t.Errorf("%v transactions are committed, %v batches of %v commands; want 6 commands in as many batches as transactions", commits, batches, sum)
	}
	if n := found.series("ledgerline_recovery_duration_seconds")[""]; n < 1 {
		t.Errorf("there were %v recoveries", n)
	}
	checkMetricsPage(t, map[string]families{"ingest": found, "processor": processor.scrape()})
}

// checkMetricsPage holds docs/metrics.md to the metrics of running processes.
func checkMetricsPage(t *testing.T, binaries map[string]families) {
	t.Helper()
	all, where := families{}, map[string][]string{}
	for _, binary := range slices.Sorted(maps.Keys(binaries)) {
		for _, name := range binaries[binary].ours() {
			all[name] = binaries[binary][name]
			if len(binaries[binary][name].GetMetric()) > 0 {
				where[name] = append(where[name], binary)
			}
		}
	}
	var page strings.Builder
	page.WriteString("# Metrics\n\nOn `/metrics` of the admin address, besides those of the Go runtime and the process (`go_…`, `process_…`). A label's\nvalues are names of aggregates, read models, topics, routes and codes, and numbers of partitions: never ids. What is counted\nbegins at 0. Lags are worked out when they are asked for, from what the logs' ends were up to 2 s ago. Made by\n`go test . -run TestMetrics -update`.\n\n| metric | type | labels | meaning | where |\n|---|---|---|---|---|\n")
	for _, name := range all.ours() {
		labels := map[string]bool{}
		for _, f := range binaries {
			for _, m := range f[name].GetMetric() {
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = true
				}
			}
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s | %s |\n", name, strings.ToLower(all[name].GetType().String()),
			cmp.Or(strings.Join(slices.Sorted(maps.Keys(labels)), ", "), "–"), all[name].GetHelp(), strings.Join(where[name], ", "))
	}
	const path = "docs/metrics.md"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page.String() {
		t.Errorf("%s is not what the binaries serve; run: go test . -run TestMetrics -update", path)
	}
}
