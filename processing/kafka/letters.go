package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// Letter is a dead letter: a command that nobody could decode, as it came, and why. What came is from
// whoever may write commands: it may hold any bytes.
type Letter struct {
	Aggregate string
	// Partition and Offset are the letter's in the topic of dead letters.
	Partition int32
	Offset    int64
	// At is when it became one, by the worker's clock.
	At time.Time
	// Cause is a code, Detail the same in words, Position where the command lay ("order/3@17").
	Cause, Detail, Position string
	// LeftOut is how many bytes were left out, 0 of a letter that is whole. With it, there is no Key,
	// Value or header.
	LeftOut int
	// Key, Value and Headers are the command's.
	Key, Value []byte
	Headers    []Header
}

// Header is one of a record's headers.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the first value of a header, "" if there is none.
func (l Letter) Header(key string) string {
	for _, h := range l.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Type is what the command said that it is, or "".
func (l Letter) Type() string { return l.Header(headerType) }

// CommandID is the command's id, or "" if it was given none, or none that is one.
func (l Letter) CommandID() string {
	id, err := processing.CommandID(l.Header(headerID))
	if err != nil {
		return ""
	}
	return id
}

var (
	// ErrNoLetter says that there is no dead letter at a place.
	ErrNoLetter = errors.New("there is no such dead letter; see: rebuild dead-letters list")
	// ErrLeftOut says that a letter's bytes were not kept.
	ErrLeftOut = errors.New("it was too large to be kept: nothing of it but its position is left")
)

// BecameLetter says whether the command that an outcome answers lies in the dead letters.
func BecameLetter(o processing.Outcome) bool {
	switch o.Code {
	case processing.CodeUndecodable, processing.CodeUnknownCommandType, processing.CodeTooLarge, processing.CodeInvalidAggregateID:
		return o.Status == processing.Failed
	}
	return false
}

// letterOf takes off what deadLetter added: the last headers, whatever the command's own are called.
func letterOf(aggregate string, r *kgo.Record) Letter {
	l := Letter{Aggregate: aggregate, Partition: r.Partition, Offset: r.Offset, At: r.Timestamp.UTC(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		l.Headers = append(l.Headers, Header(h))
	}
	last := func(key string) string {
		n := len(l.Headers) - 1
		if n < 0 || l.Headers[n].Key != key {
			return ""
		}
		value := string(l.Headers[n].Value)
		l.Headers = l.Headers[:n]
		return value
	}
	l.Position, l.Detail, l.Cause = last(headerPosition), last(headerDetail), last(headerCause)
	if len(r.Key) == 0 && len(r.Value) == 0 && len(l.Headers) == 1 && l.Headers[0].Key == headerLeftOut {
		l.LeftOut, _ = strconv.Atoi(last(headerLeftOut)) // a worker wrote a number
	}
	return l
}

// DeadLetters visits the dead letters of an aggregate that are committed, in order within a partition.
func (l *Log) DeadLetters(ctx context.Context, aggregate string, visit func(Letter) error) error {
	r, back, err := l.borrow(ctx)
	if err != nil {
		return err
	}
	defer back()
	spans, err := l.letters(ctx, aggregate)
	if err != nil {
		return err
	}
	return r.read(ctx, spans, func(rec *kgo.Record) error { return visit(letterOf(aggregate, rec)) })
}

// DeadLetter returns the dead letter at a place, or ErrNoLetter.
func (l *Log) DeadLetter(ctx context.Context, aggregate string, partition int32, offset int64) (Letter, error) {
	r, back, err := l.borrow(ctx)
	if err != nil {
		return Letter{}, err
	}
	defer back()
	spans, err := l.letters(ctx, aggregate)
	if err != nil {
		return Letter{}, err
	}
	tp := topicPartition{l.cfg.Topics.DeadLetters(aggregate), partition}
	if s := spans[tp]; offset < s.from || offset >= s.to {
		return Letter{}, fmt.Errorf("%s@%d: %w", tp, offset, ErrNoLetter)
	}
	found, err := r.at(ctx, map[topicPartition][]int64{tp: {offset}})
	if err != nil {
		return Letter{}, err
	}
	if rec := found[tp][offset]; rec != nil {
		return letterOf(aggregate, rec), nil
	}
	return Letter{}, fmt.Errorf("%s@%d: %w", tp, offset, ErrNoLetter) // an end of a transaction has the offset
}

// letters returns what is committed of an aggregate's dead letters.
func (l *Log) letters(ctx context.Context, aggregate string) (map[topicPartition]span, error) {
	topic := l.cfg.Topics.DeadLetters(aggregate)
	starts, err := l.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	var ends kadm.ListedOffsets
	if err == nil {
		ends, err = l.adm.ListCommittedOffsets(ctx, topic)
	}
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing offsets of %s: %w", topic, err)
	}
	spans := map[topicPartition]span{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		spans[topicPartition{topic, end.Partition}] = span{start.Offset, end.Offset}
	})
	return spans, nil
}

// Decodes says what a letter's command is for this binary, if it is sent again now: its type, or a fault
// by which it would fail again.
func (l *Log) Decodes(ctx context.Context, a *processing.Aggregate, letter Letter) (string, *processing.Fault, error) {
	r, _, err := redriven(l.cfg.Topics, letter)
	if err != nil {
		return "", nil, err
	}
	r.Timestamp = time.Now()
	w := &wire{topics: l.cfg.Topics, codec: l.cfg.Codec}
	in, err := w.command(ctx, a, r)
	if err != nil {
		return "", nil, fmt.Errorf("decoding the dead letter of %s: %w", letter.Position, err)
	}
	return in.Command.Type, in.Fault, nil
}

// LetterJSON returns the value of a letter as JSON: as it came, or decoded; and false if it is neither.
func (l *Log) LetterJSON(ctx context.Context, letter Letter) ([]byte, bool) {
	if strings.HasPrefix(letter.Header(headerContentType), contentJSON) {
		return letter.Value, json.Valid(letter.Value)
	}
	d, err := l.cfg.Codec.Decode(ctx, letter.Value, letter.At)
	if err != nil {
		return nil, false
	}
	text, err := l.cfg.Codec.ToJSON(d.Value)
	return text, err == nil
}

// redriven returns the record that sends a letter's command once more: its bytes and headers, under a new id,
// since the old one may be too old by now, and with what it comes of.
func redriven(topics Topics, l Letter) (r *kgo.Record, id string, err error) {
	if l.LeftOut > 0 {
		return nil, "", ErrLeftOut
	}
	made, err := uuid.NewV7()
	if err != nil {
		return nil, "", fmt.Errorf("making a command id: %w", err)
	}
	h := newHeaders()
	h.add(headerID, made.String())
	h.add(headerCausationID, cmp.Or(l.CommandID(), l.Position))
	for _, had := range l.Headers {
		if !slices.Contains([]string{headerID, headerCausationID, headerMovedFrom}, had.Key) {
			h = append(h, kgo.RecordHeader(had))
		}
	}
	return &kgo.Record{Topic: topics.Commands(l.Aggregate), Key: l.Key, Value: l.Value, Headers: h}, made.String(), nil
}

// DecidedSince returns the decision on a letter's command that was made since it became one: its sender has
// sent it again, under the same id. Without one it returns processing.ErrUndecided, and so it does once the
// outcome is no longer in the log. It reads all outcomes of the aggregate's partition since then.
func (s *Sender) DecidedSince(ctx context.Context, l Letter) (processing.Outcome, error) {
	if l.CommandID() == "" {
		return processing.Outcome{}, processing.ErrUndecided
	}
	o, err := s.decision(ctx, l.Aggregate, string(l.Key), l.CommandID(), l.At)
	if err == nil && !o.Decision {
		err = processing.ErrUndecided
	}
	return o, err
}

// SendAgain sends the command of a letter once more, as it came but under a new id, which it returns with
// how to wait for the outcome; wait must be called, once. It does not look at what became of the old id
// ([Sender.DecidedSince] does), nor whether the letter was sent again before: there are two commands then.
func (s *Sender) SendAgain(ctx context.Context, l Letter) (id string, wait func(context.Context) (processing.Outcome, error), err error) {
	r, id, err := redriven(s.cfg.Topics, l)
	if err != nil {
		return "", nil, err
	}
	wait, err = s.append(ctx, commandKey{l.Aggregate, string(l.Key), id}, r)
	return id, wait, err
}
