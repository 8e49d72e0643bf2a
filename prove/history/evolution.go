package history

// Decode is a record of the corpus, and what the product read it as.
type Decode struct {
	// Schema is the full name and version of what wrote it, Line its place in values.jsonl, By the library.
	Schema string `json:"schema"`
	Line   int    `json:"line"`
	By     string `json:"by"`
	// At is the time that the record was given, in milliseconds since 1970.
	At int64 `json:"at"`
	// Payload is the record without its frame. Newest is the value that came out, as another library writes it
	// in the newest schema of that name; Err says why none did.
	Payload []byte `json:"payload"`
	Newest  []byte `json:"newest"`
	Err     string `json:"err,omitempty"`
	// Damage is what was tried on the same record.
	Damage Damage `json:"damage"`
}

// Damage is what became of a record that was cut short, lengthened, and had each of its bytes changed.
type Damage struct {
	// Cuts is how often it was cut, CutsRead where it was read nevertheless; so with bytes left over.
	Cuts         int   `json:"cuts"`
	CutsRead     []int `json:"cuts_read"`
	Leftover     int   `json:"leftover"`
	LeftoverRead []int `json:"leftover_read"`
	// Flips is how many bytes were changed, FlipsPanicked those at which the codec panicked, and Allocated the most
	// that reading one took, in bytes, of a record of Size with its frame.
	Flips         int   `json:"flips"`
	FlipsPanicked []int `json:"flips_panicked"`
	Allocated     int64 `json:"allocated"`
	Size          int   `json:"size"`
}

// Change is a change of a schema from the list of changes, and what the product said of it.
type Change struct {
	Line int    `json:"line"`
	Said string `json:"said"`
}

// Gate is what the product says of the schemas beside the corpus.
type Gate struct {
	Wrong []string `json:"wrong"`
}

// Decode adds a line.
func (w *Writer) Decode(d Decode) { w.add("decodes.jsonl", d) }

// Change adds a line.
func (w *Writer) Change(c Change) { w.add("changes.jsonl", c) }

// Gate adds a line.
func (w *Writer) Gate(g Gate) { w.add("gate.jsonl", g) }

// Decodes reads a folder's file of them.
func Decodes(dir string) ([]Decode, error) { return read[Decode](dir, "decodes.jsonl") }

// Changes reads a folder's file of them.
func Changes(dir string) ([]Change, error) { return read[Change](dir, "changes.jsonl") }

// Gates reads a folder's file of them.
func Gates(dir string) ([]Gate, error) { return read[Gate](dir, "gate.jsonl") }
