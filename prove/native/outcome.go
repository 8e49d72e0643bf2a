package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/prove/history"
)

// outcome is what a record of the outcomes topic says, read by hand: nothing of the product is asked.
type outcome struct {
	partition int32
	input     int64 // offset of the command record that it answers
	commandID string
	result    string
	decision  bool
	code      string
	version   int64
	// seen is when, by the run's clock.
	seen int64
}

var errNotAvro = errors.New("the outcome's bytes end too soon")

// readOutcome reads a record.
func readOutcome(r *kgo.Record) (outcome, error) {
	o := outcome{partition: r.Partition, commandID: header(r, "ce_commandid")}
	var err error
	if o.input, err = strconv.ParseInt(header(r, "ce_commandoffset"), 10, 64); err != nil {
		return o, err
	}
	o.result = strings.ToLower(header(r, "ce_status"))
	// The frame, then command_id, aggregate, aggregate_id, command_type, status, decision, code, detail,
	// version; what follows is of no interest here.
	a := avroReader{left: r.Value[min(5, len(r.Value)):]}
	for range 4 {
		_ = a.text()
	}
	a.long()
	o.decision = a.boolean()
	o.code = a.text()
	_ = a.text()
	o.version = a.long()
	return o, a.err
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// avroReader reads Avro's binary encoding; after an error all it reads is zero.
type avroReader struct {
	left []byte
	err  error
}

func (a *avroReader) long() int64 {
	n, size := binary.Varint(a.left)
	if size <= 0 {
		a.err, a.left = errNotAvro, nil
		return 0
	}
	a.left = a.left[size:]
	return n
}

func (a *avroReader) text() string {
	n := a.long()
	if n < 0 || n > int64(len(a.left)) {
		a.err, a.left = errNotAvro, nil
		return ""
	}
	s := string(a.left[:n])
	a.left = a.left[n:]
	return s
}

func (a *avroReader) boolean() bool {
	if len(a.left) == 0 {
		a.err = errNotAvro
		return false
	}
	b := a.left[0] == 1
	a.left = a.left[1:]
	return b
}

// avroCommand frames a command's fields, which are longs.
func avroCommand(schema uint32, fields ...int64) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, schema)
	for _, f := range fields {
		b = binary.AppendVarint(b, f)
	}
	return b
}

// answer makes of an outcome what a client knows: it is one of the answer's forms.
func (o outcome) answer(offset int64) answer {
	a := answer{appended: true, partition: o.partition, offset: offset, result: o.result, code: o.code, version: o.version}
	a.repeat = !o.decision && o.result != history.Failed
	return a
}
