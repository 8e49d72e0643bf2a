// Package history is what a proof writes down while it runs, and what its checker reads: one folder for
// each run, of files of JSON lines, an object per line.
//
//	run.json       the Run: what was run, and how to run it again
//	ops.jsonl      an Op per command that a client sent, in the order of their ends
//	faults.jsonl   a Fault for everything that was done to the system and struck
//	takeovers.jsonl a Takeover for every partition that lost its worker and got one again
//	scalings.jsonl a Scaling for every partition each time that a process left in good order or joined
//	holds.jsonl  a Hold for everything that happened to a slot, as its process saw it on the wire
//	log.jsonl      a Record for every committed record of every topic at the end, as a plain client reads it
//	reads.jsonl    a Read for every query with a position, in runs of the read side, as the next six
//	walks.jsonl    a Walk for every list that was read page by page
//	tampers.jsonl  a Tamper for everything that was changed in Redis at the end, for verify to find
//	kills.jsonl    a Kill for every rebuild run that was killed
//	verbs.jsonl    a Verb for every call of the rebuild binary that came to its end
//	rewinds.jsonl  a Rewind for every time that a generation was seen thrown back
//	redis.jsonl    a Stored for every key at the end
//	end.json       is there once all of it is: what has none is not finished
//
// It owns the form and nothing else. It imports nothing of the product, and neither does the checker.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Run says what was run.
type Run struct {
	// Kind is "sim", "native" or "read".
	Kind string `json:"kind"`
	// Mode is how Redis is broken in a run of the read side.
	Mode string `json:"mode,omitempty"`
	Seed uint64 `json:"seed"`
	// Partitions is how many each topic has.
	Partitions int32 `json:"partitions"`
	// Again is the command that runs it again.
	Again string `json:"again"`
	// Kinds are the kinds of faults that such runs inflict, those that did not strike in this one too.
	Kinds []string `json:"kinds,omitempty"`
}

// Memory is what a process with one worker needs, as the kernel, the Go runtime and the log tell it. It is no
// part of a run: a file has one such object.
type Memory struct {
	// Aggregates and IDs are how many there are in the log: of IDs, those known when the last life began.
	Aggregates int    `json:"aggregates"`
	IDs        int    `json:"ids"`
	Lives      []Life `json:"lives"`
}

// Life is one life of the process, in bytes.
type Life struct {
	// HeapAtStart is live once the process is ready, before it decides anything: it holds the ids.
	HeapAtStart int64 `json:"heap_at_start"`
	// PeakRSS is the most resident memory that it had.
	PeakRSS int64 `json:"peak_rss"`
}

// RebuildMemory is what rebuild jobs need. It is no part of a run: a file has one such object.
type RebuildMemory struct {
	// Scales are a log, and the same grown to ten times its length.
	Scales []RebuildScale `json:"scales"`
}

// RebuildScale is one length of the log.
type RebuildScale struct {
	Tallies int `json:"tallies"`
	// Offsets are how many the events topic had.
	Offsets int64 `json:"offsets"`
	// PeakRSS is the most resident memory that a job had, in bytes.
	PeakRSS int64 `json:"peak_rss"`
}

// Op is a command as its client saw it. Times are nanoseconds since the run's start, of one clock that
// all clients share.
type Op struct {
	Client  string `json:"client"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return"`
	ID      string `json:"id"` // the command id; several ops have one id if the client sent it again
	Tally   string `json:"tally"`
	Command string `json:"command"` // "Add" or "Take"
	Amount  int64  `json:"amount"`
	Parts   int64  `json:"parts,omitempty"`
	// Expected is the version that was asked for, nil for any.
	Expected *int64 `json:"expected,omitempty"`
	// Appended says that the brokers confirmed the command's record, at Partition and Offset.
	Appended  bool  `json:"appended"`
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
	// Result is Accepted, Refused or Failed as the outcome said, or Unknown if the client saw none.
	Result string `json:"result"`
	Code   string `json:"code,omitempty"`
	// Version is the tally's after the command, as the outcome said, or -1 if the client was not told: HTTP
	// tells it only of what was accepted and of a version conflict.
	Version int64 `json:"version"`
	// Repeat says that the answer told of an earlier decision.
	Repeat bool `json:"repeat,omitempty"`
}

// The results of an Op.
const (
	Accepted = "accepted"
	Refused  = "refused"
	Failed   = "failed"
	Unknown  = "unknown"
)

// Fault is something that was done to the system, and struck. At is nanoseconds since the run's start.
type Fault struct {
	At int64 `json:"at"`
	// Kind names the fault, "crash-after-endtxn"; faults of one kind are counted together.
	Kind string `json:"kind"`
	// Target is whom it struck: a slot, a broker, a request.
	Target string `json:"target"`
}

// Takeover is what a partition went through after its worker had died. Times are nanoseconds since the
// run's start.
type Takeover struct {
	Slot      string `json:"slot"` // of the worker that died
	Partition int32  `json:"partition"`
	// Kind is "restarted" if the same slot came back at once, "gone" if it stayed away.
	Kind string `json:"kind"`
	// Died is when, Back when its restart began (0 if it stayed away), Decided when the next outcome of the
	// partition was seen committed. A command waited all that time.
	Died    int64 `json:"died"`
	Back    int64 `json:"back,omitempty"`
	Decided int64 `json:"decided"`
	// Quiet says that no broker was at fault between Died and Decided.
	Quiet bool `json:"quiet"`
}

// Scaling is how long a partition stood still while the number of processes changed in good order. Times
// are nanoseconds.
type Scaling struct {
	Slot string `json:"slot"` // of the process that left or joined
	// Kind is "left" or "joined".
	Kind      string `json:"kind"`
	At        int64  `json:"at"`
	Partition int32  `json:"partition"`
	// Waited is the longest that a command waited which was sent to the partition from then on.
	Waited int64 `json:"waited"`
}

// Hold is what a worker's process was told about its slot. At is nanoseconds since the run's start.
type Hold struct {
	At   int64  `json:"at"`
	Slot string `json:"slot"`
	// Process numbers the processes that had the slot, over all slots.
	Process int `json:"process"`
	// What is Took, Fenced or Ended.
	What string `json:"what"`
	// By is the request that was answered so.
	By string `json:"by,omitempty"`
}

// What a Hold can say.
const (
	Took   = "took"   // the brokers gave the process the slot's transactional id
	Fenced = "fenced" // the brokers told it that another one has the slot
	Ended  = "ended"  // it said itself that it has ended because of that
)

// Record is a record as it lies in Kafka.
type Record struct {
	Topic     string      `json:"topic"`
	Partition int32       `json:"partition"`
	Offset    int64       `json:"offset"`
	Timestamp int64       `json:"timestamp"` // milliseconds
	Key       []byte      `json:"key"`
	Value     []byte      `json:"value"`
	Headers   [][2]string `json:"headers"`
}

// Writer writes a run's folder. It is safe for concurrent use.
type Writer struct {
	mu    sync.Mutex
	dir   string
	files map[string]*file
	err   error
}

type file struct {
	f   *os.File
	buf *bufio.Writer
}

// Create makes the folder and writes run.json.
func Create(dir string, run Run) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the history's folder: %w", err)
	}
	text, err := json.Marshal(run)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "run.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("writing run.json: %w", err)
	}
	return &Writer{dir: dir, files: map[string]*file{}}, nil
}

// Op adds a line. An error is told by Close, as of the other files.
func (w *Writer) Op(o Op) { w.add("ops.jsonl", o) }

// Fault adds a line.
func (w *Writer) Fault(f Fault) { w.add("faults.jsonl", f) }

// Takeover adds a line.
func (w *Writer) Takeover(t Takeover) { w.add("takeovers.jsonl", t) }

// Scaling adds a line.
func (w *Writer) Scaling(s Scaling) { w.add("scalings.jsonl", s) }

// Hold adds a line.
func (w *Writer) Hold(h Hold) { w.add("holds.jsonl", h) }

// Record adds a line.
func (w *Writer) Record(r Record) { w.add("log.jsonl", r) }

func (w *Writer) add(name string, value any) {
	text, err := json.Marshal(value)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.err != nil {
		return
	}
	f := w.files[name]
	if f == nil {
		opened, err := os.Create(filepath.Join(w.dir, name))
		if err != nil {
			w.err = err
			return
		}
		f = &file{f: opened, buf: bufio.NewWriterSize(opened, 1<<16)}
		w.files[name] = f
	}
	if _, err := f.buf.Write(append(text, '\n')); err != nil {
		w.err = err
	}
}

// Close ends the files, says that the run is whole, and returns the first error there was.
func (w *Writer) Close() error {
	err := w.Abandon()
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, "end.json"), []byte("{}\n"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing history %s: %w", w.dir, err)
	}
	return nil
}

// Abandon ends the files of a run that is not whole, such as one whose log could not be read to its end.
func (w *Writer) Abandon() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.err
	for _, f := range w.files {
		err = errors.Join(err, f.buf.Flush(), f.f.Close())
	}
	return err
}

// Finished reports whether a run's folder is whole.
func Finished(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "end.json"))
	return err == nil
}

// ReadRun reads a folder's run.json.
func ReadRun(dir string) (Run, error) {
	var run Run
	text, err := os.ReadFile(filepath.Join(dir, "run.json"))
	if err == nil {
		err = json.Unmarshal(text, &run)
	}
	if err != nil {
		return run, fmt.Errorf("reading history %s: %w", dir, err)
	}
	return run, nil
}

// Ops reads a folder's file of them. One that is not there has no lines, here as below.
func Ops(dir string) ([]Op, error) { return read[Op](dir, "ops.jsonl") }

// Faults reads a folder's file of them.
func Faults(dir string) ([]Fault, error) { return read[Fault](dir, "faults.jsonl") }

// Takeovers reads a folder's file of them.
func Takeovers(dir string) ([]Takeover, error) { return read[Takeover](dir, "takeovers.jsonl") }

// Scalings reads a folder's file of them.
func Scalings(dir string) ([]Scaling, error) { return read[Scaling](dir, "scalings.jsonl") }

// Holds reads a folder's file of them.
func Holds(dir string) ([]Hold, error) { return read[Hold](dir, "holds.jsonl") }

// Records reads a folder's file of them.
func Records(dir string) ([]Record, error) { return read[Record](dir, "log.jsonl") }

func read[T any](dir, name string) ([]T, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading history: %w", err)
	}
	defer func() { _ = f.Close() }()
	var lines []T
	for d := json.NewDecoder(bufio.NewReaderSize(f, 1<<16)); ; {
		var line T
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading line %d of %s: %w", len(lines)+1, filepath.Join(dir, name), err)
		}
		lines = append(lines, line)
	}
}
