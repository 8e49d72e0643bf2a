package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"github.com/ledgerline/ledgerline/prove/history"
)

// root is the repository, from this package.
const root = "../.."

const testPartitions = 2

// story makes a history by hand: commands, what is decided, what clients are told.
type story struct {
	t       *testing.T
	schemas schemas
	run     history.Run
	ops     []history.Op
	records []history.Record
	holds   []history.Hold
	faults  []history.Fault
	takes   []history.Takeover
	now     int64
	next    map[string]int64 // offsets by topic and partition
	tallies map[string]tally
	ids     int
}

func newStory(t *testing.T) *story {
	t.Helper()
	loaded, err := loadSchemas(root)
	if err != nil {
		t.Fatal(err)
	}
	return &story{
		t: t, schemas: loaded, run: history.Run{Kind: "sim", Seed: 7, Partitions: testPartitions, Again: "SEED=7 make prove-write"},
		next: map[string]int64{}, tallies: map[string]tally{},
	}
}

// add appends a record, and returns its offset.
func (s *story) add(kind string, partition int32, name, fullName string, body any, headers ...string) int64 {
	s.t.Helper()
	r := history.Record{Topic: "tally." + kind, Partition: partition, Key: []byte(name)}
	at := kind + strconv.Itoa(int(partition))
	r.Offset = s.next[at]
	s.next[at]++
	payload, err := avro.Marshal(s.schemas[fullName], body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Value = append(binary.BigEndian.AppendUint32([]byte{0}, 1), payload...)
	r.Headers = append(r.Headers, [2]string{"ce_type", fullName}, [2]string{"content-type", "application/avro"})
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, [2]string{headers[i], headers[i+1]})
	}
	s.records = append(s.records, r)
	return r.Offset
}

// sent is a command that a client has sent.
type sent struct {
	*command
	op int // index into ops
}

// send has a client append a command where it belongs, or in the partition given.
func (s *story) send(client string, c command, partition ...int32) sent {
	s.t.Helper()
	if c.id == "" {
		s.ids++
		c.id = fmt.Sprintf("00000000-0000-7000-8000-%012d", s.ids)
	}
	if c.partition = home(c.tally, testPartitions); len(partition) > 0 {
		c.partition = partition[0]
	}
	body := map[string]any{"amount": c.amount}
	if c.name == "Add" {
		body["parts"] = c.parts
	}
	headers := []string{"ce_id", c.id}
	if c.expected != nil {
		headers = append(headers, "ce_expectedversion", strconv.FormatInt(*c.expected, 10))
	}
	if c.movedFrom != "" {
		headers = append(headers, "ledgerline-moved-from", c.movedFrom)
	}
	c.offset = s.add("commands", c.partition, c.tally, "ledgerline.prove."+c.name, body, headers...)
	if client != "" {
		s.now += 10
		s.ops = append(s.ops, history.Op{
			Client: client, Call: s.now, Return: s.now + 5, ID: c.id, Tally: c.tally, Command: c.name, Amount: c.amount, Parts: c.parts, Expected: c.expected,
			Appended: true, Partition: c.partition, Offset: c.offset, Result: history.Unknown,
		})
	}
	return sent{&c, len(s.ops) - 1}
}

// decide appends what a right worker decides, and tells the client.
func (s *story) decide(c sent) {
	s.t.Helper()
	got, after := s.tallies[c.tally].decide(c.command)
	s.decideAs(c, got, after)
}

func (s *story) decideAs(c sent, got told, after tally) {
	s.t.Helper()
	before := s.tallies[c.tally]
	s.tallies[c.tally] = after
	refs := []map[string]any{}
	for v := before.version + 1; got.result == history.Accepted && v <= got.version; v++ {
		refs = append(refs, s.event(c, v, v == got.version, fmt.Sprintf("event-of-%s-%d", c.id, v)))
	}
	s.outcome(c, got, true, refs)
	s.tell(c, got, false)
}

// event appends an event of a command and returns what its outcome says of it.
func (s *story) event(c sent, version int64, last bool, id string) map[string]any {
	s.t.Helper()
	name, body := "Added", map[string]any{"tally_id": c.tally, "amount": c.amount, "part": int64(1)}
	if c.name == "Take" {
		name = "Taken"
		delete(body, "part")
	}
	headers := []string{"ce_id", id, "ce_sequence", strconv.FormatInt(version, 10), "ce_commandid", c.id, "ce_commandoffset", strconv.FormatInt(c.offset, 10)}
	if last {
		headers = append(headers, "ce_last", "true")
	}
	s.add("events", c.partition, c.tally, "ledgerline.prove."+name, body, headers...)
	return map[string]any{"id": id, "type": name, "version": version}
}

func (s *story) outcome(c sent, got told, decision bool, events []map[string]any) {
	s.t.Helper()
	s.add("outcomes", c.partition, c.tally, "ledgerline.Outcome", map[string]any{
		"command_id": c.id, "aggregate": "tally", "aggregate_id": c.tally, "command_type": c.name, "status": strings.ToUpper(got.result), "decision": decision,
		"code": got.code, "detail": "", "version": got.version, "events": events, "command_offset": c.offset, "body_hash": []byte{1}, "time": time.UnixMilli(s.now),
	}, "ce_commandid", c.id, "ce_commandoffset", strconv.FormatInt(c.offset, 10))
}

func (s *story) tell(c sent, got told, repeat bool) {
	if c.op < 0 {
		return
	}
	op := &s.ops[c.op]
	op.Result, op.Code, op.Version, op.Repeat = got.result, got.code, got.version, repeat
}

// write writes the story to a folder.
func (s *story) write(dir string) {
	s.t.Helper()
	w, err := history.Create(dir, s.run)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range s.ops {
		w.Op(o)
	}
	for _, r := range s.records {
		w.Record(r)
	}
	for _, h := range s.holds {
		w.Hold(h)
	}
	for _, f := range s.faults {
		w.Fault(f)
	}
	for _, t := range s.takes {
		w.Takeover(t)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// judge runs the checker, and returns its exit code, its last line and what it says besides.
func (s *story) judge(args ...string) (code int, line, said string) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "run")
	s.write(dir)
	var stdout, stderr bytes.Buffer
	code = check(append(append([]string{"-root", root}, args...), dir), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// drop takes the last record of a topic away.
func (s *story) drop(kind string) {
	for i := len(s.records) - 1; i >= 0; i-- {
		if s.records[i].Topic == "tally."+kind {
			s.records = append(s.records[:i], s.records[i+1:]...)
			return
		}
	}
	s.t.Fatalf("no record of %s", kind)
}

func add(name string, amount, parts int64) command {
	return command{key: key{tally: name}, name: "Add", amount: amount, parts: parts}
}

func take(name string, amount int64) command {
	return command{key: key{tally: name}, name: "Take", amount: amount}
}

func accepted(version int64) told { return told{result: history.Accepted, version: version} }
