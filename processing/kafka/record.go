package kafka

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/schemas"
)

// Headers of records, CloudEvents 1.0 in binary mode. They are a public contract.
const (
	headerSpecVersion     = "ce_specversion"
	headerID              = "ce_id"
	headerType            = "ce_type"
	headerSource          = "ce_source"
	headerSubject         = "ce_subject"
	headerTime            = "ce_time"
	headerContentType     = "content-type"
	headerSequence        = "ce_sequence"
	headerCommandID       = "ce_commandid"
	headerCommandOffset   = "ce_commandoffset"
	headerLast            = "ce_last"
	headerCorrelationID   = "ce_correlationid"
	headerCausationID     = "ce_causationid"
	headerTraceParent     = "traceparent"
	headerExpectedVersion = "ce_expectedversion"
	// Of an outcome: its status, and its code unless it was accepted, for clients that read no Avro.
	headerStatus = "ce_status"
	headerCode   = "ce_code"

	// Of a command moved to the partition that its key hashes to: where it lay before.
	headerMovedFrom = "ledgerline-moved-from"
	// Of an event or outcome that rebuild migrate has copied: where it lies in the topics of the old prefix, and
	// the offset of its command there, as "order.events/3@1207 command 17".
	headerMigratedFrom = "ledgerline-migrated-from"
	// Of a dead letter: why it is one and where it lay; and how many bytes were left out, if it was too
	// large to be kept whole.
	headerCause    = "ledgerline-cause"
	headerDetail   = "ledgerline-detail"
	headerPosition = "ledgerline-position"
	headerLeftOut  = "ledgerline-bytes-left-out"

	contentAvro = "application/avro"
	contentJSON = "application/json"
)

const (
	// MaxCommandBytes is the largest command that is decided, with its key and headers; topics take
	// twice as much.
	MaxCommandBytes = 1 << 20
	// maxLetterBytes is the largest record that is kept whole as a dead letter: what is added to it must
	// fit into its batch too.
	maxLetterBytes = maxRecordBatch - 16<<10
	// maxDetail bounds what is told about a fault, which may quote what came in.
	maxDetail = 1000
)

// sizeOf is a record's key, value and headers in bytes. That of a batch which came in compressed may
// be far above what topics take.
func sizeOf(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// shorten cuts a detail.
func shorten(detail string) string {
	if len(detail) > maxDetail {
		return strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	return detail
}

func header(r *kgo.Record, key string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

type headers []kgo.RecordHeader

// newHeaders has room for those of any record.
func newHeaders() headers { return make(headers, 0, 13) }

func (h *headers) add(key, value string) {
	if value != "" {
		*h = append(*h, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
}

// wire turns records into commands and events and back: the one decode path.
type wire struct {
	topics Topics
	codec  *schemas.Codec
	source string
	// lookups ask for schemas that are not known, nil if all wait for them.
	lookups *lookups
}

// errUnready wraps what goes away by waiting: the registry does not answer.
var errUnready = errors.New("schema registry does not answer")

// decode returns the value of a record, or a *processing.Fault that will not go away, or an error
// wrapping errUnready, with lookups an *untoldError too. It is upcast as of the time at. The type of JSON may be the simple name of one of those
// commands.
func (w *wire) decode(ctx context.Context, r *kgo.Record, at time.Time, commands ...processing.Type) (schemas.Decoded, *processing.Fault, error) {
	if strings.HasPrefix(header(r, headerContentType), contentJSON) {
		fullName := header(r, headerType)
		for _, t := range commands {
			if t.Name == fullName {
				fullName = w.codec.FullName(t.Value(t.New()))
				break
			}
		}
		value, err := w.codec.FromJSON(fullName, r.Value)
		if err != nil {
			if f := faultOf(err); f.Code != processing.CodeUnknownCommandType {
				return schemas.Decoded{}, f, nil
			}
			return schemas.Decoded{}, &processing.Fault{
				Code: processing.CodeUnknownCommandType, Detail: fmt.Sprintf("header %s of JSON: %q is no type of command", headerType, fullName), DeadLetter: true,
			}, nil
		}
		return schemas.Decoded{FullName: fullName, Name: fullName[strings.LastIndexByte(fullName, '.')+1:], Value: value}, nil, nil
	}
	var d schemas.Decoded
	err := w.lookups.find(ctx, r.Value)
	if err == nil {
		d, err = w.codec.Decode(ctx, r.Value, at)
	}
	if err == nil {
		return d, nil, nil
	}
	if errors.Is(err, schemas.ErrUnknownType) || errors.Is(err, schemas.ErrUndecodable) {
		f := faultOf(err)
		if len(r.Value) > 0 && r.Value[0] == '{' {
			f.Detail += "; if it is JSON, say so in the header " + headerContentType + ": " + contentJSON
		}
		return d, f, nil
	}
	return d, nil, fmt.Errorf("%w: %w", errUnready, err)
}

func faultOf(err error) *processing.Fault {
	f := &processing.Fault{Code: processing.CodeUndecodable, Detail: err.Error(), DeadLetter: true}
	if errors.Is(err, schemas.ErrUnknownType) {
		f.Code = processing.CodeUnknownCommandType
	}
	return f
}

func tooLarge(r *kgo.Record) *processing.Fault {
	return &processing.Fault{Code: processing.CodeTooLarge, Detail: fmt.Sprintf("%d bytes, at most %d are decided", sizeOf(r), MaxCommandBytes), DeadLetter: true}
}

// idempotencyKey is what a command's id is made of: its own, or its position.
func idempotencyKey(r *kgo.Record) string {
	if key := header(r, headerID); key != "" {
		return key
	}
	return fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset)
}

// command decodes a record of a commands topic. An error wraps errUnready.
func (w *wire) command(ctx context.Context, a *processing.Aggregate, r *kgo.Record) (processing.Input, error) {
	c := processing.Command{
		Aggregate: a.Name, AggregateID: string(r.Key), Partition: r.Partition, Offset: r.Offset,
		CorrelationID: header(r, headerCorrelationID), CausationID: header(r, headerCausationID), TraceParent: header(r, headerTraceParent),
	}
	fault := func(f *processing.Fault) (processing.Input, error) {
		return processing.Input{Command: c, Fault: f}, nil
	}
	var err error
	if c.ID, err = processing.CommandID(idempotencyKey(r)); err != nil {
		return fault(&processing.Fault{Code: processing.CodeInvalidCommand, Detail: headerID + ": " + err.Error(), DeadLetter: true})
	}
	if err := processing.ValidateID("key", c.AggregateID); err != nil {
		if len(r.Key) > processing.MaxIDLength {
			c.ID = "" // an outcome holds the key three times: it would not fit into its topic
		}
		return fault(&processing.Fault{Code: processing.CodeInvalidAggregateID, Detail: err.Error(), DeadLetter: true})
	}
	if sizeOf(r) > MaxCommandBytes {
		return fault(tooLarge(r))
	}
	if v := header(r, headerExpectedVersion); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return fault(&processing.Fault{Code: processing.CodeInvalidCommand, Detail: fmt.Sprintf("%s: want a number from 0, got %q", headerExpectedVersion, v)})
		}
		c.Expected = &n
	}
	d, f, err := w.decode(ctx, r, r.Timestamp, a.Commands...)
	if f != nil || err != nil {
		return processing.Input{Command: c, Fault: f}, err
	}
	t, ok := a.Command(d.Name)
	if !ok {
		return fault(&processing.Fault{Code: processing.CodeUnknownCommandType, Detail: fmt.Sprintf("%s is no command of %s", d.FullName, a.Name), DeadLetter: true})
	}
	c.Type, c.Data = t.Name, d.Value
	if v, ok := d.Value.(processing.Validator); ok {
		if err := v.Validate(); err != nil {
			return fault(&processing.Fault{Code: processing.CodeInvalidCommand, Detail: err.Error()})
		}
	}
	if c.BodyHash, err = w.bodyHash(d.FullName, d.Value, c.Expected); err != nil {
		return fault(&processing.Fault{Code: processing.CodeInvalidCommand, Detail: err.Error()})
	}
	return processing.Input{Command: c}, nil
}

// bodyHash is over the decoded fields, written with the newest schema, and the expected version: so
// the same command has it however it was encoded.
func (w *wire) bodyHash(fullName string, value any, expected *int64) (h [16]byte, err error) {
	payload, err := w.codec.Payload(value)
	if err != nil {
		return h, err
	}
	b := append([]byte(fullName), 0)
	if expected != nil {
		b = binary.BigEndian.AppendUint64(append(b, 1), uint64(*expected))
	}
	sum := sha256.Sum256(append(append(b, 0), payload...))
	copy(h[:], sum[:])
	return h, nil
}

// request encodes a command on its way in.
func (w *wire) request(ctx context.Context, q processing.Request, now time.Time) (*kgo.Record, error) {
	topic := w.topics.Commands(q.Aggregate.Name)
	value, err := w.codec.Encode(ctx, topic, q.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", q.Type.Name, err)
	}
	h := newHeaders()
	h.add(headerSpecVersion, "1.0")
	h.add(headerID, q.ID)
	h.add(headerType, w.codec.FullName(q.Data))
	h.add(headerSource, w.source)
	h.add(headerSubject, q.AggregateID)
	h.add(headerTime, now.UTC().Format(time.RFC3339Nano))
	h.add(headerContentType, contentAvro)
	if q.Expected != nil {
		h.add(headerExpectedVersion, strconv.FormatInt(*q.Expected, 10))
	}
	h.add(headerCorrelationID, q.CorrelationID)
	h.add(headerTraceParent, q.TraceParent)
	return &kgo.Record{Topic: topic, Key: []byte(q.AggregateID), Value: value, Headers: h}, nil
}

// eventRecord encodes an event for its partition.
func (w *wire) eventRecord(ctx context.Context, e processing.Event) (*kgo.Record, error) {
	topic := w.topics.Events(e.Aggregate)
	value, err := w.codec.Encode(ctx, topic, e.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", e.Type, err)
	}
	h := newHeaders()
	h.add(headerSpecVersion, "1.0")
	h.add(headerID, e.ID)
	h.add(headerType, w.codec.FullName(e.Data))
	h.add(headerSource, w.source)
	h.add(headerSubject, e.AggregateID)
	h.add(headerTime, e.Time.UTC().Format(time.RFC3339Nano))
	h.add(headerContentType, contentAvro)
	h.add(headerSequence, strconv.FormatInt(e.Version, 10))
	h.add(headerCommandID, e.CommandID)
	h.add(headerCommandOffset, strconv.FormatInt(e.CommandOffset, 10))
	if e.Last {
		h.add(headerLast, "true")
	}
	h.add(headerCorrelationID, e.CorrelationID)
	h.add(headerCausationID, e.CausationID)
	h.add(headerTraceParent, e.TraceParent)
	return &kgo.Record{Topic: topic, Partition: e.Partition, Key: []byte(e.AggregateID), Value: value, Headers: h}, nil
}

// eventError says that an event will never decode with this binary.
type eventError struct {
	Topic     string
	Partition int32
	Offset    int64
	Cause     string
}

func (e *eventError) Error() string {
	return fmt.Sprintf("event at %s/%d@%d cannot be decoded: %s", e.Topic, e.Partition, e.Offset, e.Cause)
}

// event decodes a record of an events topic. An error wraps errUnready, or is an *eventError: then what the
// headers tell is returned with it.
func (w *wire) event(ctx context.Context, aggregate string, r *kgo.Record) (processing.Event, error) {
	e := processing.Event{
		ID: header(r, headerID), Aggregate: aggregate, AggregateID: string(r.Key), Type: header(r, headerType),
		CommandID: header(r, headerCommandID), Last: header(r, headerLast) == "true",
		CorrelationID: header(r, headerCorrelationID), CausationID: header(r, headerCausationID), TraceParent: header(r, headerTraceParent),
		Partition: r.Partition, Offset: r.Offset,
	}
	bad := func(cause string) (processing.Event, error) {
		e.Data = nil
		return e, &eventError{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Cause: cause}
	}
	var noTime, noVersion, noCommand error
	e.Time, noTime = time.Parse(time.RFC3339Nano, header(r, headerTime))
	if e.Version, noVersion = strconv.ParseInt(header(r, headerSequence), 10, 64); noVersion == nil && e.Version < 1 {
		noVersion = fmt.Errorf("want a number from 1, got %d", e.Version)
	}
	if e.CommandOffset, noCommand = strconv.ParseInt(header(r, headerCommandOffset), 10, 64); noCommand != nil {
		e.CommandOffset, e.Last = -1, false
	}
	if err := processing.ValidateID("key", e.AggregateID); err != nil {
		return bad(err.Error())
	}
	if noTime != nil {
		return bad(headerTime + ": " + noTime.Error())
	}
	d, f, err := w.decode(ctx, r, e.Time)
	if err != nil {
		return processing.Event{}, err
	}
	if f != nil {
		return bad(f.Detail)
	}
	e.Type, e.Data = d.Name, d.Value
	if noVersion != nil {
		return bad(headerSequence + ": " + noVersion.Error())
	}
	if noCommand != nil {
		return bad(headerCommandOffset + ": " + noCommand.Error())
	}
	return e, nil
}

// delivered decodes an event for those who park what cannot be decoded. An error wraps errUnready.
func (w *wire) delivered(ctx context.Context, aggregate string, r *kgo.Record) (processing.Event, error) {
	e, err := w.event(ctx, aggregate, r)
	var bad *eventError
	if errors.As(err, &bad) {
		e.Undecodable, err = bad, nil
	}
	return e, err
}

// outcomeRecord encodes an outcome; input is the offset of the command record that it answers.
func (w *wire) outcomeRecord(ctx context.Context, partition int32, o *processing.Outcome, input int64) (*kgo.Record, error) {
	topic := w.topics.Outcomes(o.Aggregate)
	o.Detail = shorten(o.Detail)
	value, err := w.codec.Encode(ctx, topic, *o)
	if err != nil {
		return nil, fmt.Errorf("encoding outcome of %s: %w", o.CommandID, err)
	}
	h := newHeaders()
	h.add(headerSpecVersion, "1.0")
	h.add(headerID, fmt.Sprintf("%s/%d@%d", o.Aggregate, partition, input))
	h.add(headerType, w.codec.FullName(*o))
	h.add(headerSource, w.source)
	h.add(headerSubject, o.AggregateID)
	h.add(headerTime, o.Time.UTC().Format(time.RFC3339Nano))
	h.add(headerContentType, contentAvro)
	h.add(headerCommandID, o.CommandID)
	h.add(headerCommandOffset, strconv.FormatInt(input, 10))
	h.add(headerStatus, string(o.Status))
	h.add(headerCode, o.Code)
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(o.AggregateID), Value: value, Headers: h}, nil
}

// outcome decodes a record of an outcomes topic, and returns the offset of the command record that it
// answers.
func (w *wire) outcome(ctx context.Context, r *kgo.Record) (processing.Outcome, int64, error) {
	d, f, err := w.decode(ctx, r, r.Timestamp)
	if err != nil {
		return processing.Outcome{}, 0, err
	}
	o, ok := d.Value.(processing.Outcome)
	if f != nil || !ok {
		return o, 0, fmt.Errorf("outcome at %s/%d@%d cannot be decoded", r.Topic, r.Partition, r.Offset)
	}
	o.Partition, o.Offset = r.Partition, r.Offset
	input, err := strconv.ParseInt(header(r, headerCommandOffset), 10, 64)
	if err != nil {
		return o, 0, fmt.Errorf("outcome at %s/%d@%d: %s: %w", r.Topic, r.Partition, r.Offset, headerCommandOffset, err)
	}
	return o, input, nil
}

// moved returns the copy of a misplaced command for the partition that its key hashes to. Without an
// id of its own it gets that of the place where it first lay, so that two copies are one command.
//
// Neither it nor any other record that a worker writes carries a time of before: the client takes a
// record's timestamp for the time at which it was handed over, and gives up on an old one at once.
func moved(r *kgo.Record, to int32) *kgo.Record {
	var h headers
	if header(r, headerID) == "" {
		h.add(headerID, idempotencyKey(r))
	}
	h = append(h, r.Headers...)
	h.add(headerMovedFrom, fmt.Sprintf("%d@%d", r.Partition, r.Offset))
	return &kgo.Record{Topic: r.Topic, Partition: to, Key: r.Key, Value: r.Value, Headers: h}
}

// deadLetter returns the record that keeps a command which cannot be decided, as it was. Of one that
// is too large for the topic it keeps the position alone.
func (w *wire) deadLetter(aggregate string, r *kgo.Record, f *processing.Fault) *kgo.Record {
	letter := &kgo.Record{Topic: w.topics.DeadLetters(aggregate), Key: r.Key, Value: r.Value}
	h := append(headers{}, r.Headers...)
	if n := sizeOf(r); n > maxLetterBytes {
		letter.Key, letter.Value = nil, nil
		h = headers{{Key: headerLeftOut, Value: strconv.AppendInt(nil, int64(n), 10)}}
	}
	h.add(headerCause, f.Code)
	h.add(headerDetail, shorten(f.Detail))
	h.add(headerPosition, processing.Position{Aggregate: aggregate, Partition: r.Partition, Offset: r.Offset}.String())
	letter.Headers = h
	return letter
}
