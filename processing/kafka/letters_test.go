package kafka

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/processing"
)

// TestLetterIsWhatCame reads back what a worker made of a command, one that calls its headers as the worker
// does included, and makes the command of it that is sent again.
func TestLetterIsWhatCame(t *testing.T) {
	t.Parallel()
	w := &wire{}
	const id = "0190F8B0-0000-7000-8000-000000000001"
	for name, row := range map[string]struct {
		headers []string // of the command: name, value, name, value
		keep    []string // those of it that are sent again
		cause   string
	}{
		"no id":        {nil, nil, "order/2@17"},
		"an id":        {[]string{"a", "1", headerID, id, "a", "2"}, []string{"a", "1", "a", "2"}, "0190f8b0-0000-7000-8000-000000000001"},
		"no good id":   {[]string{headerID, string(bytes.Repeat([]byte("x"), 256))}, nil, "order/2@17"},
		"sent again":   {[]string{headerID, id, headerCausationID, "older"}, nil, "0190f8b0-0000-7000-8000-000000000001"},
		"moved":        {[]string{headerID, id, "a", "1", headerMovedFrom, "1@3"}, []string{"a", "1"}, "0190f8b0-0000-7000-8000-000000000001"},
		"ours":         {[]string{headerCause, "mine", headerPosition, "mine", headerLeftOut, "5"}, []string{headerCause, "mine", headerPosition, "mine", headerLeftOut, "5"}, "order/2@17"},
		"ours at last": {[]string{headerCause, "mine", headerDetail, "mine"}, []string{headerCause, "mine", headerDetail, "mine"}, "order/2@17"},
	} {
		for _, detail := range []string{"why", ""} {
			command := &kgo.Record{Partition: 2, Offset: 17, Key: []byte("o-1"), Value: []byte{0xff}, Headers: recordHeaders(row.headers)}
			l := letterOf("order", w.deadLetter("order", command, &processing.Fault{Code: "undecodable", Detail: detail}))
			if l.Cause != "undecodable" || l.Detail != detail || l.Position != "order/2@17" || l.LeftOut != 0 || len(l.Headers) != len(command.Headers) {
				t.Errorf("%s: read as %+v", name, l)
			}
			r, made, err := redriven(Topics{Prefix: "x."}, l)
			if err != nil {
				t.Fatal(err)
			}
			want := recordHeaders(append([]string{headerID, made, headerCausationID, row.cause}, row.keep...))
			same := slices.EqualFunc(r.Headers, want, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) })
			if !same || r.Topic != "x.order.commands" || string(r.Key) != "o-1" || !bytes.Equal(r.Value, command.Value) || uuid.MustParse(made).Version() != 7 {
				t.Errorf("%s: sent again as %+v, want headers %v", name, r, want)
			}
		}
	}
	huge := &kgo.Record{Partition: 2, Offset: 17, Key: []byte("o-1"), Value: make([]byte, maxLetterBytes), Headers: recordHeaders([]string{headerID, id})}
	l := letterOf("order", w.deadLetter("order", huge, tooLarge(huge)))
	if l.LeftOut != sizeOf(huge) || len(l.Headers) != 0 || l.Position != "order/2@17" {
		t.Errorf("one that is too large is read as %+v", l)
	}
	if _, _, err := redriven(Topics{}, l); !errors.Is(err, ErrLeftOut) {
		t.Errorf("one that is too large is sent again: %v", err)
	}
}

func recordHeaders(pairs []string) (list []kgo.RecordHeader) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return list
}
