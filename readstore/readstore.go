// Package readstore says what a read model is: generations of buckets, each bucket with documents,
// sums, entries and ranked lists that change together with its checkpoints.
//
// It owns the types and the rules that every store keeps; redisstore keeps them in Redis, memstore in
// memory, and storetest holds both to them. It knows neither events nor projections.
package readstore

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Source is one partition of an aggregate's events: where a bucket's changes come from.
type Source struct {
	Aggregate string
	Partition int32
}

// String writes the source as "order/3".
func (s Source) String() string { return s.Aggregate + "/" + strconv.Itoa(int(s.Partition)) }

// ParseSource reads what [Source.String] writes.
func ParseSource(text string) (Source, error) {
	aggregate, partition, ok := strings.Cut(text, "/")
	n, err := strconv.ParseInt(partition, 10, 32)
	if !ok || aggregate == "" || err != nil || n < 0 {
		return Source{}, fmt.Errorf("reading source %q: want aggregate/partition, like order/3", text)
	}
	return Source{Aggregate: aggregate, Partition: int32(n)}, nil
}

// Bucket names one bucket of one generation of a read model: the unit of atomic change.
type Bucket struct {
	Model      string
	Generation string
	Number     int
}

// String writes the bucket as "order-status.20261123-7f3a.11", which is also its hash tag in Redis.
func (b Bucket) String() string { return fmt.Sprintf("%s.%s.%d", b.Model, b.Generation, b.Number) }

// BucketOf returns the bucket number of a document id in a model that is not keyed as its events are:
// the first four hexadecimal digits of sha1(id), modulo buckets. It is a public contract.
func BucketOf(id string, buckets int) int {
	sum := sha1.Sum([]byte(id))
	return (int(sum[0])<<8 | int(sum[1])) % buckets
}

// Checkpoint is how far a bucket has applied a source. Stores compare it as an opaque whole; only
// when all but the offsets agree are two checkpoints ordered. The zero Checkpoint is "nothing yet".
type Checkpoint struct {
	Generation  string
	CodeVersion int
	// TopicID is the id of the events topic: a recreated topic is another log.
	TopicID string
	// Offset is the next offset of the events topic that the bucket needs.
	Offset int64
	// Command is the offset of the last command applied whole, -1 before the first.
	Command int64
	// Change is a random value that sets apart two histories with equal offsets.
	Change string
}

// String is the stored form. The zero checkpoint is "".
func (c Checkpoint) String() string {
	if c == (Checkpoint{}) {
		return ""
	}
	return fmt.Sprintf("%s %d %s %d %d %s", c.Generation, c.CodeVersion, c.TopicID, c.Offset, c.Command, c.Change)
}

// BrokenPrefix marks a checkpoint whose script failed half-way: the generation is lost.
const BrokenPrefix = "broken:"

// ErrBroken is returned for a bucket that a failed script left half-written. Its generation must be
// built anew.
var ErrBroken = errors.New("generation is broken: a write stopped half-way")

// ParseCheckpoint reads what [Checkpoint.String] writes. It returns ErrBroken, wrapped, for a broken one.
func ParseCheckpoint(s string) (Checkpoint, error) {
	if s == "" {
		return Checkpoint{}, nil
	}
	if strings.HasPrefix(s, BrokenPrefix) {
		return Checkpoint{}, fmt.Errorf("reading checkpoint %q: %w", s, ErrBroken)
	}
	f := strings.Split(s, " ")
	if len(f) != 6 {
		return Checkpoint{}, fmt.Errorf("reading checkpoint %q: want 6 fields, got %d", s, len(f))
	}
	code, err := strconv.Atoi(f[1])
	offset, err2 := strconv.ParseInt(f[3], 10, 64)
	command, err3 := strconv.ParseInt(f[4], 10, 64)
	if err := errors.Join(err, err2, err3); err != nil {
		return Checkpoint{}, fmt.Errorf("reading checkpoint %q: %w", s, err)
	}
	return Checkpoint{Generation: f[0], CodeVersion: code, TopicID: f[2], Offset: offset, Command: command, Change: f[5]}, nil
}

// Checkpoints holds a bucket's checkpoints; a source that is not in it has the zero one.
type Checkpoints map[Source]Checkpoint

// OpKind is what an [Op] does.
type OpKind byte

// The kinds of operation. SetDocument belongs to models keyed as their events are, the other two to
// models keyed otherwise: those commute between sources.
const (
	// SetDocument replaces the JSON text of document ID by Value.
	SetDocument OpKind = 'D'
	// AddSum adds Delta to the sum Field of document ID, from 0, and creates it even for a delta of 0.
	// With Rank set, the document's place in that ranked list becomes the new sum.
	AddSum OpKind = 'A'
	// SetEntry sets the entry Field of document ID to Value. All changes of one entry must come from
	// one source: then their order is kept.
	SetEntry OpKind = 'E'
	// SetParked belongs to all models: it sets what is parked of aggregate Field with id ID to Value, or
	// takes it away where Value is "".
	SetParked OpKind = 'P'
)

// Op is one change in a bucket.
type Op struct {
	Kind  OpKind
	ID    string // document id, without '/'; of SetParked the aggregate's, any text
	Field string // of AddSum and SetEntry; of SetParked the aggregate's name, without '/'
	Rank  string // of AddSum: a ranked list's name, or ""
	Delta int64  // of AddSum
	Value string // of SetDocument, SetEntry and SetParked
}

// Advance moves a bucket's checkpoint of a source.
type Advance struct {
	Source   Source
	From, To Checkpoint
}

// Write changes one bucket: all of it if every Advance finds its From, else nothing.
type Write struct {
	Bucket   Bucket
	Advances []Advance
	Ops      []Op
}

// Result is what became of a Write. If it was not applied, Stored holds the checkpoints found of the
// write's sources, and Err is nil or wraps ErrBroken.
type Result struct {
	Applied bool
	Stored  Checkpoints
	Err     error
}

// Writer is what a follower needs of a store.
type Writer interface {
	// Apply makes the writes, each atomically on its own, in one round trip where the store can. It
	// returns one Result per write. An error means that nothing is known about any of them.
	Apply(ctx context.Context, writes []Write) ([]Result, error)
	// Load returns the documents of those ids that exist, with the bucket's checkpoints as of the same
	// moment. It returns ErrBroken, wrapped, if one is broken.
	Load(ctx context.Context, bucket Bucket, ids []string) (map[string]string, Checkpoints, error)
	// Parked returns what is parked in a bucket, by aggregate/id, with the bucket's checkpoints as of the
	// same moment: of those names, or all of it if there are none. Errors are as of Load.
	Parked(ctx context.Context, bucket Bucket, names ...string) (map[string]string, Checkpoints, error)
}

// Entry is one entry of a document.
type Entry struct {
	Field string
	Value string
}

// Rank is one place in a ranked list.
type Rank struct {
	ID  string
	Sum int64
}

// Reader answers queries. Every answer comes with the bucket's checkpoints as of the same moment. All
// of its methods return ErrBroken, wrapped, for a bucket with a broken checkpoint.
type Reader interface {
	// Load is Writer's.
	Load(ctx context.Context, bucket Bucket, ids []string) (map[string]string, Checkpoints, error)
	// Parked is Writer's.
	Parked(ctx context.Context, bucket Bucket, names ...string) (map[string]string, Checkpoints, error)
	// Sums returns the sums of a document by field, empty if it has none.
	Sums(ctx context.Context, bucket Bucket, id string) (map[string]int64, Checkpoints, error)
	// Entries returns up to limit entries of a document in byte order of their fields, after one.
	Entries(ctx context.Context, bucket Bucket, id, after string, limit int) ([]Entry, Checkpoints, error)
	// Ranked returns up to limit places of a ranked list, highest sum first, equal sums by id in
	// descending byte order; after, if not nil, is the last place already seen.
	Ranked(ctx context.Context, bucket Bucket, list string, after *Rank, limit int) ([]Rank, Checkpoints, error)
}

// Content is everything that a bucket holds, for comparing.
type Content struct {
	Documents   map[string]string           // id → JSON
	Sums        map[string]int64            // id/field → sum
	Entries     map[string]string           // id/field → value
	Ranked      map[string]map[string]int64 // list → id → sum
	Parked      map[string]string           // aggregate/id → value
	Checkpoints Checkpoints
	// Strange names what does not belong: unknown keys under the bucket's tag, an index that does not
	// match the sums and entries.
	Strange []string
}

// Inspector shows whole buckets, for verification.
type Inspector interface {
	// Inspect returns everything under the bucket's tag as of one moment.
	Inspect(ctx context.Context, bucket Bucket) (Content, error)
}

// GenerationState is a generation's place in its life.
type GenerationState string

// The states of a generation. Which ready generation is active is told by the pointer alone.
const (
	Building GenerationState = "building"
	Ready    GenerationState = "ready"
	Retired  GenerationState = "retired"
)

// Generation is one complete build of a read model.
type Generation struct {
	ID          string          `json:"id"`
	Model       string          `json:"model"`
	State       GenerationState `json:"state"`
	CodeVersion int             `json:"code_version"`
	// Buckets is how many buckets the generation has.
	Buckets int `json:"buckets"`
	// ClusterID and TopicIDs (by aggregate) say which log it was built from.
	ClusterID string            `json:"cluster_id"`
	TopicIDs  map[string]string `json:"topic_ids"`
	CreatedAt time.Time         `json:"created_at"`
	// Builder holds the lease while the state is building; LeaseUntil is when it ends unless renewed.
	Builder    string    `json:"builder,omitempty"`
	LeaseUntil time.Time `json:"lease_until,omitzero"`
	ReadyAt    time.Time `json:"ready_at,omitzero"`
	// VerifiedAt is when verification last found it equal to the log; zero if it never has.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	PromotedAt time.Time `json:"promoted_at,omitzero"`
}

// Catalog is the pointer and the list of generations of a read model.
type Catalog struct {
	// Active is the id of the generation that readers use, "" for none.
	Active string
	// Standby is what Active named before, "" for none.
	Standby     string
	Generations map[string]Generation
	// Revision is the store's: UpdateCatalog compares it.
	Revision string
}

// ActiveGeneration returns the generation that the pointer names.
func (c Catalog) ActiveGeneration() (Generation, bool) {
	g, ok := c.Generations[c.Active]
	return g, ok && c.Active != ""
}

// ErrCatalogChanged is returned when somebody else changed the catalog first: read it and decide again.
var ErrCatalogChanged = errors.New("catalog of generations has changed")

// Catalogs keeps a catalog per read model.
type Catalogs interface {
	// Catalog reads a read model's catalog; an unknown model has an empty one.
	Catalog(ctx context.Context, model string) (Catalog, error)
	// UpdateCatalog stores c, pointer and list together, if the stored one still has c's Revision;
	// else it returns ErrCatalogChanged.
	UpdateCatalog(ctx context.Context, model string, c Catalog) error
	// Drop deletes every bucket of a generation. It is for generations that nobody reads.
	Drop(ctx context.Context, g Generation) error
}

// Store is all of it.
type Store interface {
	Writer
	Reader
	Inspector
	Catalogs
}
