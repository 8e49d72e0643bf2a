package history

// Read is a query with the position of what its reader had just written. Times are nanoseconds since the
// run's start.
type Read struct {
	At     int64 `json:"at"`
	Return int64 `json:"return"`
	// Processor is who was asked, Model and ID what for.
	Processor string `json:"processor"`
	Model     string `json:"model"`
	ID        string `json:"id"`
	// Tally is what was written to, Position where the write lies, as ingest's answer named it.
	Tally    string `json:"tally"`
	Position string `json:"position"`
	// Status is the answer's, Body what it said.
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Walk is a list read from its first page to its last, or as far as it went, each page with the position of
// what its reader had seen written.
type Walk struct {
	At        int64  `json:"at"`
	Return    int64  `json:"return"`
	Processor string `json:"processor"`
	// Group is whose entries are listed, "" for the ranked list of all groups.
	Group    string `json:"group,omitempty"`
	Tally    string `json:"tally"`
	Position string `json:"position"`
	// Pages are the bodies of the answers with status 200; Ended says that the last of them named no next one.
	Pages []string `json:"pages"`
	Ended bool     `json:"ended"`
}

// Tamper is something that was changed in Redis behind the product's back, and what verify said of it.
type Tamper struct {
	Model      string `json:"model"`
	Generation string `json:"generation"`
	// What says what was done, to which Field of which Key.
	What  string `json:"what"`
	Key   string `json:"key"`
	Field string `json:"field"`
	// Said are the differences that verify named.
	Said []string `json:"said"`
}

// Offsets are checkpoints' offsets, by bucket and source: "11 tally/3".
type Offsets map[string]int64

// Kill is a rebuild run that was killed, and what came of it when it was run again. Times are nanoseconds
// since the run's start.
type Kill struct {
	At    int64  `json:"at"`
	Model string `json:"model"`
	// Generation is what it built, Next what the run worked at that followed, "" if none did.
	Generation string `json:"generation"`
	Next       string `json:"next"`
	// Share says how much of the log's offsets it had written, from 0 to 1.
	Share float64 `json:"share"`
	// Before are the generation's checkpoints between the kill and the next run, After the lowest that were
	// seen from then on. A checkpoint that is gone is 0.
	Before Offsets `json:"before"`
	After  Offsets `json:"after"`
}

// Verb is a call of the rebuild binary that came to its end.
type Verb struct {
	At     int64 `json:"at"`
	Return int64 `json:"return"`
	// Name is "run", "verify", "promote" or "rollback".
	Name       string `json:"name"`
	Model      string `json:"model"`
	Generation string `json:"generation,omitempty"`
	// Exit is its exit code, Said its last line.
	Exit int    `json:"exit"`
	Said string `json:"said"`
	// Differences is how many verify counted.
	Differences int64 `json:"differences,omitempty"`
	// Ends are where the log ended when promote was called, Reached what the generation had right after, for each
	// of its checkpoints. None if Redis lost something meanwhile, or promote failed.
	Ends    Offsets `json:"ends,omitempty"`
	Reached Offsets `json:"reached,omitempty"`
}

// Rewind is a generation some of whose checkpoints were seen lower than before.
type Rewind struct {
	At         int64  `json:"at"`
	Model      string `json:"model"`
	Generation string `json:"generation"`
	// Fell says how many checkpoints, By how many offsets in all.
	Fell int   `json:"fell"`
	By   int64 `json:"by"`
}

// Stored is a key of Redis at the end: those of each read model's catalog, and of its active generation.
type Stored struct {
	Key string `json:"key"`
	// Type is Redis's: "string", "hash" or "zset".
	Type string `json:"type"`
	// Text is a string's value, Fields a hash's fields with their values, Scores a sorted set's members.
	Text   string             `json:"text,omitempty"`
	Fields map[string]string  `json:"fields,omitempty"`
	Scores map[string]float64 `json:"scores,omitempty"`
}

// Read adds a line.
func (w *Writer) Read(r Read) { w.add("reads.jsonl", r) }

// Walk adds a line.
func (w *Writer) Walk(l Walk) { w.add("walks.jsonl", l) }

// Tamper adds a line.
func (w *Writer) Tamper(t Tamper) { w.add("tampers.jsonl", t) }

// Kill adds a line.
func (w *Writer) Kill(k Kill) { w.add("kills.jsonl", k) }

// Verb adds a line.
func (w *Writer) Verb(v Verb) { w.add("verbs.jsonl", v) }

// Rewind adds a line.
func (w *Writer) Rewind(r Rewind) { w.add("rewinds.jsonl", r) }

// Stored adds a line.
func (w *Writer) Stored(s Stored) { w.add("redis.jsonl", s) }

// Reads reads a folder's file of them.
func Reads(dir string) ([]Read, error) { return read[Read](dir, "reads.jsonl") }

// Walks reads a folder's file of them.
func Walks(dir string) ([]Walk, error) { return read[Walk](dir, "walks.jsonl") }

// Tampers reads a folder's file of them.
func Tampers(dir string) ([]Tamper, error) { return read[Tamper](dir, "tampers.jsonl") }

// Kills reads a folder's file of them.
func Kills(dir string) ([]Kill, error) { return read[Kill](dir, "kills.jsonl") }

// Verbs reads a folder's file of them.
func Verbs(dir string) ([]Verb, error) { return read[Verb](dir, "verbs.jsonl") }

// Rewinds reads a folder's file of them.
func Rewinds(dir string) ([]Rewind, error) { return read[Rewind](dir, "rewinds.jsonl") }

// Redis reads a folder's file of what was stored.
func Redis(dir string) ([]Stored, error) { return read[Stored](dir, "redis.jsonl") }
