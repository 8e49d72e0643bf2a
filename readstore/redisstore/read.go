package redisstore

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/ledgerline/ledgerline/readstore"
)

// Load returns the documents of those ids that exist, with the checkpoints of the same moment.
func (s *Store) Load(ctx context.Context, b readstore.Bucket, ids []string) (map[string]string, readstore.Checkpoints, error) {
	args := make([]any, len(ids))
	for i := range ids {
		args[i] = &ids[i]
	}
	keys := []string{s.bucketKey(b, CheckpointsPart), s.bucketKey(b, DocumentsPart)}
	pairs, checkpoints, err := s.readBucket(ctx, loadScript, keys, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("loading %d documents of %s: %w", len(ids), b, err)
	}
	return toMap(pairs), checkpoints, nil
}

// Parked returns what is parked of those names, or all that is, with the checkpoints of the same moment.
func (s *Store) Parked(ctx context.Context, b readstore.Bucket, names ...string) (map[string]string, readstore.Checkpoints, error) {
	args := make([]any, len(names))
	for i := range names {
		args[i] = &names[i]
	}
	keys := []string{s.bucketKey(b, CheckpointsPart), s.bucketKey(b, ParkedPart)}
	script := loadScript
	if len(names) == 0 {
		script = parkedScript
	}
	pairs, checkpoints, err := s.readBucket(ctx, script, keys, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what is parked in %s: %w", b, err)
	}
	return toMap(pairs), checkpoints, nil
}

// Sums returns the sums of a document by field, with the checkpoints of the same moment.
func (s *Store) Sums(ctx context.Context, b readstore.Bucket, id string) (map[string]int64, readstore.Checkpoints, error) {
	keys := []string{s.bucketKey(b, CheckpointsPart), s.bucketKey(b, SumsPart), s.bucketKey(b, IndexPart)}
	pairs, checkpoints, err := s.readBucket(ctx, fieldsScript, keys, id, "["+id+"/s/", "("+id+"/s0", -1)
	if err != nil {
		return nil, nil, fmt.Errorf("reading sums of %s in %s: %w", id, b, err)
	}
	sums := make(map[string]int64, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		if sums[pairs[i]], err = strconv.ParseInt(pairs[i+1], 10, 64); err != nil {
			return nil, nil, fmt.Errorf("reading sum %s/%s in %s: %w", id, pairs[i], b, err)
		}
	}
	return sums, checkpoints, nil
}

// Entries returns a page of a document's entries, with the checkpoints of the same moment.
func (s *Store) Entries(ctx context.Context, b readstore.Bucket, id, after string, limit int) ([]readstore.Entry, readstore.Checkpoints, error) {
	from := "[" + id + "/e/"
	if after != "" {
		from = "(" + id + "/e/" + after
	}
	keys := []string{s.bucketKey(b, CheckpointsPart), s.bucketKey(b, EntriesPart), s.bucketKey(b, IndexPart)}
	pairs, checkpoints, err := s.readBucket(ctx, fieldsScript, keys, id, from, "("+id+"/e0", clamp(limit))
	if err != nil {
		return nil, nil, fmt.Errorf("reading entries of %s in %s: %w", id, b, err)
	}
	entries := make([]readstore.Entry, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		entries = append(entries, readstore.Entry{Field: pairs[i], Value: pairs[i+1]})
	}
	return entries, checkpoints, nil
}

// Ranked returns a page of a ranked list, with the checkpoints of the same moment. Its sums are exact
// up to 2^53.
func (s *Store) Ranked(ctx context.Context, b readstore.Bucket, list string, after *readstore.Rank, limit int) ([]readstore.Rank, readstore.Checkpoints, error) {
	args := []any{clamp(limit)}
	if after != nil {
		args = append(args, after.Sum, after.ID)
	}
	keys := []string{s.bucketKey(b, CheckpointsPart), s.bucketKey(b, RankPart+list)}
	pairs, checkpoints, err := s.readBucket(ctx, rankedScript, keys, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading ranked list %s of %s: %w", list, b, err)
	}
	ranks := make([]readstore.Rank, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		sum, ok := parseScore(pairs[i+1])
		if !ok {
			return nil, nil, fmt.Errorf("reading ranked list %s of %s: %s has score %q, not a whole number", list, b, pairs[i], pairs[i+1])
		}
		ranks = append(ranks, readstore.Rank{ID: pairs[i], Sum: sum})
	}
	return ranks, checkpoints, nil
}

// clamp brings a limit into the range in which Lua's numbers are whole.
func clamp(limit int) int { return min(max(limit, 0), math.MaxInt32) }

// parseScore reads a sorted set's score, which servers write as 1500, 1.5e+3 or +inf. It reports
// whether it is a whole number; one just past int64's range, where rounding puts the highest sums,
// is the nearest int64.
func parseScore(text string) (int64, bool) {
	score, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || score != math.Trunc(score) || math.Abs(score) > 1<<63:
		return 0, false
	case score == 1<<63:
		return math.MaxInt64, true
	}
	return int64(score), true
}
