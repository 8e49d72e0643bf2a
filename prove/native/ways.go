package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
)

// command is what a client wants, however it sends it.
type command struct {
	id, tally, kind string
	amount, parts   int64
	expected        *int64
}

// body is the command as JSON.
func (c command) body() []byte {
	if c.kind == "Take" {
		return fmt.Appendf(nil, `{"amount":%d}`, c.amount)
	}
	return fmt.Appendf(nil, `{"amount":%d,"parts":%d}`, c.amount, c.parts)
}

// answer is what a client got to know; result is Unknown unless it saw an outcome. Where a command lies in
// the log is known by Kafka alone: appended is false of what was sent by HTTP.
type answer struct {
	appended  bool
	partition int32
	offset    int64
	result    string
	code      string
	version   int64 // -1 if it was not told
	repeat    bool
}

// way is a way to send commands. An answer that does not come before ctx ends is lost.
type way interface {
	send(ctx context.Context, c command) answer
}

func unknown() answer { return answer{result: history.Unknown, offset: -1, version: -1} }

// byKafka produces plain records, as JSON or as Avro, and learns of outcomes from the observer.
type byKafka struct {
	r       *run
	cl      *kgo.Client
	schemas map[string]uint32 // by command; nil for JSON
}

func newKafka(ctx context.Context, r *run, avro bool) (*byKafka, error) {
	cl, err := r.stack.Kafka(kgo.MetadataMinAge(20*time.Millisecond), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(30*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	k := &byKafka{r: r, cl: cl}
	if !avro {
		return k, nil
	}
	k.schemas = map[string]uint32{}
	for _, kind := range []string{"Add", "Take"} {
		var newest struct {
			ID uint32 `json:"id"`
		}
		if err := r.stack.AskRegistry(ctx, http.MethodGet, "/subjects/"+commandsTopic+"-ledgerline.prove."+kind+"/versions/latest", "", &newest); err != nil {
			cl.Close()
			return nil, fmt.Errorf("asking for the schema of %s: %w", kind, err)
		}
		k.schemas[kind] = newest.ID
	}
	return k, nil
}

func (k *byKafka) record(c command) *kgo.Record {
	record := &kgo.Record{Topic: commandsTopic, Key: []byte(c.tally), Value: c.body()}
	add := func(key, value string) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	add("ce_id", c.id)
	add("ce_type", "ledgerline.prove."+c.kind)
	if c.expected != nil {
		add("ce_expectedversion", strconv.FormatInt(*c.expected, 10))
	}
	if k.schemas == nil {
		add("content-type", "application/json")
		return record
	}
	add("content-type", "application/avro")
	fields := []int64{c.amount, c.parts}
	if c.kind == "Take" {
		fields = fields[:1]
	}
	record.Value = avroCommand(k.schemas[c.kind], fields...)
	return record
}

func (k *byKafka) send(ctx context.Context, c command) answer {
	appended := make(chan error, 1)
	record := k.record(c)
	// The produce goes on when the client has lost its patience.
	k.cl.Produce(context.WithoutCancel(ctx), record, func(_ *kgo.Record, err error) { appended <- err })
	a := unknown()
	select {
	case <-ctx.Done():
		return a
	case err := <-appended:
		if err != nil || record.Offset < 0 { // it may have been appended all the same
			return a
		}
	}
	a.appended, a.partition, a.offset = true, record.Partition, record.Offset
	if o, ok := k.r.tail.wait(ctx, place{record.Partition, record.Offset}); ok {
		return o.answer(record.Offset)
	}
	return a
}

// byHTTP posts to one of the ingest processes.
type byHTTP struct {
	url    string
	client *http.Client
}

func (h *byHTTP) send(ctx context.Context, c command) answer {
	path := fmt.Sprintf("%s/v1/tallies/%s/%s", h.url, c.tally, strings.ToLower(c.kind))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(c.body()))
	if err != nil {
		return unknown()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", strconv.Quote(c.id))
	switch {
	case c.expected != nil && *c.expected == 0:
		request.Header.Set("If-None-Match", "*")
	case c.expected != nil:
		request.Header.Set("If-Match", fmt.Sprintf(`"%d"`, *c.expected))
	}
	response, err := h.client.Do(request)
	if err != nil {
		return unknown()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return unknown()
	}
	return readHTTP(response, text)
}

// refusals are the codes of outcomes that refuse; any other is of a command that failed, or was not taken.
var refusals = map[string]bool{"amount-not-positive": true, "bad-parts": true, "not-enough": true, "version-conflict": true}

// notDecided are the codes of answers that are none to the command.
var notDecided = map[string]bool{"in-progress": true, "backlog-full": true, "unconfirmed": true, "": true}

// readHTTP reads an answer. 202 tells nothing of the outcome.
func readHTTP(response *http.Response, text []byte) answer {
	a := unknown()
	var body struct {
		Version int64
		Code    string
	}
	if json.Unmarshal(text, &body) != nil {
		return a
	}
	switch {
	case response.StatusCode == http.StatusCreated:
		a.result, a.version = history.Accepted, body.Version
	case refusals[body.Code]:
		a.result, a.code = history.Refused, body.Code
		if n, err := strconv.ParseInt(strings.Trim(response.Header.Get("ETag"), `"`), 10, 64); err == nil {
			a.version = n
		}
	case notDecided[body.Code] || response.StatusCode == http.StatusNotFound:
		return a
	default:
		a.result, a.code = history.Failed, body.Code
	}
	return a
}
