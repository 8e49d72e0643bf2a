package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ledgerline/ledgerline/prove/history"
)

// schemas are those of the .avsc files, by full name.
type schemas map[string]avro.Schema

func loadSchemas(root string) (schemas, error) {
	files, err := filepath.Glob(filepath.Join(root, "prove", "schemas", "tally", "*.avsc"))
	if err != nil {
		return nil, fmt.Errorf("looking for schemas: %w", err)
	}
	loaded := schemas{}
	for _, name := range append(files, filepath.Join(root, "schemas", "Outcome.avsc")) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading schema: %w; -root is the repository", err)
		}
		schema, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
		if err != nil {
			return nil, fmt.Errorf("reading schema %s: %w", name, err)
		}
		named, ok := schema.(avro.NamedSchema)
		if !ok {
			return nil, fmt.Errorf("schema %s has no name", name)
		}
		loaded[named.FullName()] = schema
	}
	return loaded, nil
}

// commandLog is what the log holds, by partition and in the order of the offsets.
type commandLog struct {
	partitions int32
	commands   map[place]*command
	order      [][]*command // of each partition
	events     [][]*event
	outcomes   [][]*outcome
	letters    map[place]int // dead letters by the position that they name
}

// place is a record's in the commands topic.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d@%d", p.partition, p.offset) }

// key names a command: an id belongs to a tally.
type key struct{ tally, id string }

type command struct {
	place
	key
	name      string // Add or Take
	amount    int64
	parts     int64
	expected  *int64
	movedFrom string
	unread    string // why it cannot be read, "" if it can
}

type event struct {
	offset  int64
	key     // of the command that it came of
	id      string
	name    string
	version int64
	input   int64 // the command's offset
	amount  int64
	last    bool
}

type outcome struct {
	offset int64
	key
	input    int64 // offset of the command that it answers
	at       time.Time
	status   string
	decision bool
	code     string
	version  int64
	origin   int64 // offset of the command that was decided
	events   []reference
}

type reference struct {
	ID      string `avro:"id"`
	Type    string `avro:"type"`
	Version int64  `avro:"version"`
}

// Of an outcome, what is judged.
type outcomeBody struct {
	CommandID     string      `avro:"command_id"`
	AggregateID   string      `avro:"aggregate_id"`
	Status        string      `avro:"status"`
	Decision      bool        `avro:"decision"`
	Code          string      `avro:"code"`
	Version       int64       `avro:"version"`
	Events        []reference `avro:"events"`
	CommandOffset int64       `avro:"command_offset"`
	Time          time.Time   `avro:"time"`
}

// amounts is the body of every command and event.
type amounts struct {
	Amount int64 `avro:"amount" json:"amount"`
	Parts  int64 `avro:"parts" json:"parts"`
}

// readLog sorts the records. Its errors are of what no worker should ever have written.
func readLog(run history.Run, records []history.Record, schemas schemas) (*commandLog, error) {
	l := &commandLog{partitions: run.Partitions, commands: map[place]*command{}, letters: map[place]int{}}
	l.order, l.events, l.outcomes = make([][]*command, run.Partitions), make([][]*event, run.Partitions), make([][]*outcome, run.Partitions)
	slices.SortStableFunc(records, func(a, b history.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	for _, r := range records {
		if r.Partition >= run.Partitions {
			return nil, fmt.Errorf("a record of %s in partition %d of %d", r.Topic, r.Partition, run.Partitions)
		}
		var err error
		switch kind := r.Topic[strings.LastIndexByte(r.Topic, '.')+1:]; kind {
		case "commands":
			c := readCommand(r, schemas)
			l.commands[c.place], l.order[r.Partition] = c, append(l.order[r.Partition], c)
		case "events":
			var e *event
			if e, err = readEvent(r, schemas); err == nil {
				l.events[r.Partition] = append(l.events[r.Partition], e)
			}
		case "outcomes":
			var o *outcome
			if o, err = readOutcome(r, schemas); err == nil {
				l.outcomes[r.Partition] = append(l.outcomes[r.Partition], o)
			}
		case "dead-letters":
			_, at, _ := strings.Cut(header(r, "ledgerline-position"), "/")
			p, perr := readPlace(at)
			err = perr
			l.letters[p]++
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
	}
	return l, nil
}

func readCommand(r history.Record, schemas schemas) *command {
	c := &command{place: place{r.Partition, r.Offset}, key: key{string(r.Key), header(r, "ce_id")}, movedFrom: header(r, "ledgerline-moved-from")}
	name := header(r, "ce_type")
	c.name = name[strings.LastIndexByte(name, '.')+1:]
	if v := header(r, "ce_expectedversion"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			c.unread = err.Error()
		}
		c.expected = &n
	}
	var body amounts
	var err error
	if strings.HasPrefix(header(r, "content-type"), "application/json") {
		err = json.Unmarshal(r.Value, &body)
	} else {
		err = decode(schemas, name, r.Value, &body)
	}
	if err != nil {
		c.unread = err.Error()
	}
	c.amount, c.parts = body.Amount, body.Parts
	return c
}

func readEvent(r history.Record, schemas schemas) (*event, error) {
	name := header(r, "ce_type")
	var body amounts
	if err := decode(schemas, name, r.Value, &body); err != nil {
		return nil, err
	}
	version, err := number(r, "ce_sequence")
	if err != nil {
		return nil, err
	}
	input, err := number(r, "ce_commandoffset")
	return &event{
		offset: r.Offset, key: key{string(r.Key), header(r, "ce_commandid")}, id: header(r, "ce_id"), name: name[strings.LastIndexByte(name, '.')+1:],
		version: version, input: input, amount: body.Amount, last: header(r, "ce_last") == "true",
	}, err
}

func readOutcome(r history.Record, schemas schemas) (*outcome, error) {
	var body outcomeBody
	if err := decode(schemas, header(r, "ce_type"), r.Value, &body); err != nil {
		return nil, err
	}
	input, err := number(r, "ce_commandoffset")
	return &outcome{
		offset: r.Offset, key: key{body.AggregateID, body.CommandID}, input: input, at: body.Time, status: body.Status, decision: body.Decision, code: body.Code,
		version: body.Version, origin: body.CommandOffset, events: body.Events,
	}, err
}

// decode reads Avro behind its frame: a zero byte and a schema id, which is the registry's affair.
func decode(schemas schemas, name string, value []byte, into any) error {
	schema, ok := schemas[name]
	if !ok {
		return fmt.Errorf("no schema %q", name)
	}
	if len(value) < 5 || value[0] != 0 || binary.BigEndian.Uint32(value[1:]) == 0 {
		return fmt.Errorf("%d bytes without a frame", len(value))
	}
	if err := avro.Unmarshal(schema, value[5:], into); err != nil {
		return fmt.Errorf("decoding %s: %w", name, err)
	}
	return nil
}

func header(r history.Record, name string) string {
	for _, h := range r.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func number(r history.Record, name string) (int64, error) {
	n, err := strconv.ParseInt(header(r, name), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("header %s: %w", name, err)
	}
	return n, nil
}

// readPlace reads partition@offset.
func readPlace(s string) (place, error) {
	partition, offset, ok := strings.Cut(s, "@")
	p, err := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || err != nil || err2 != nil {
		return place{}, fmt.Errorf("no position: %q", s)
	}
	return place{int32(p), o}, nil
}

// home is the partition to which Kafka's Java clients send a key: the low 31 bits of murmur2, modulo
// partitions.
func home(name string, partitions int32) int32 {
	const m = 0x5bd1e995
	data := []byte(name)
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	h ^= h >> 15
	return int32(h&0x7fffffff) % partitions
}
