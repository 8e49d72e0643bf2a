package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

// call is one run of the apply script.
type call struct {
	keys []string
	args []any
	cmd  *redis.Cmd
}

// Apply makes the writes in one round trip, two when the server does not know the script yet. Each
// write is atomic on its own. It refuses a write without an Advance and an id with '/' before any of
// them is sent. The writes must not be changed before it returns.
//
// A write that was sent twice, because the answer to it was lost, is refused the second time: the
// Result then shows its own To as stored.
func (s *Store) Apply(ctx context.Context, writes []readstore.Write) ([]readstore.Result, error) {
	calls := make([]*call, len(writes))
	for i := range writes {
		var err error
		if calls[i], err = s.encode(&writes[i]); err != nil {
			return nil, fmt.Errorf("writing %s: %w", writes[i].Bucket, err)
		}
	}
	if err := s.send(ctx, calls, applyScript.EvalSha); err != nil {
		return nil, fmt.Errorf("applying %d writes: %w", len(writes), err)
	}
	var unknown []*call
	for _, c := range calls {
		if isUnknownScript(c.cmd.Err()) {
			unknown = append(unknown, c)
		}
	}
	// Each of them carries the script itself, so that neither a flush of the script cache nor a node
	// of a cluster that has never seen it can come in between.
	if err := s.send(ctx, unknown, applyScript.Eval); err != nil {
		return nil, fmt.Errorf("applying %d writes: %w", len(writes), err)
	}
	results := make([]readstore.Result, len(writes))
	for i, c := range calls {
		result, err := decode(&writes[i], c.cmd)
		if err != nil {
			return nil, fmt.Errorf("applying %d writes: writing %s: %w", len(writes), writes[i].Bucket, err)
		}
		results[i] = result
	}
	return results, nil
}

// send runs the calls in one pipeline. Errors that the server answered stay in the calls.
func (s *Store) send(ctx context.Context, calls []*call,
	run func(ctx context.Context, to redis.Scripter, keys []string, args ...any) *redis.Cmd,
) error {
	if len(calls) == 0 {
		return nil
	}
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, c := range calls {
			c.cmd = run(ctx, pipe, c.keys, c.args...)
		}
		return nil
	})
	if err != nil && !isAnswer(err) {
		return err
	}
	return nil
}

func isUnknownScript(err error) bool {
	return errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT")
}

// encode lays a write out as lua/apply.lua reads it. Texts go as pointers, which the client does not copy.
func (s *Store) encode(w *readstore.Write) (*call, error) {
	if len(w.Advances) == 0 {
		return nil, errors.New("a write without an Advance cannot be checked")
	}
	var documents, sums, entries, parked int
	for i := range w.Ops {
		op := &w.Ops[i]
		if strings.Contains(op.ID, "/") && op.Kind != readstore.SetParked {
			return nil, fmt.Errorf("document id %q holds '/'", op.ID)
		}
		switch op.Kind {
		case readstore.SetDocument:
			documents++
		case readstore.AddSum:
			sums++
		case readstore.SetEntry:
			entries++
		case readstore.SetParked:
			parked++
		default:
			return nil, fmt.Errorf("operation of unknown kind %q", op.Kind)
		}
	}
	keys := s.bucketKeys(w.Bucket)
	args := make([]any, 0, 5+3*len(w.Advances)+2*documents+4*sums+3*entries+2*parked)
	args = append(args, len(w.Advances))
	for _, a := range w.Advances {
		args = append(args, a.Source.String(), a.From.String(), a.To.String())
	}
	args = append(args, documents)
	for i := range w.Ops {
		if op := &w.Ops[i]; op.Kind == readstore.SetDocument {
			args = append(args, &op.ID, &op.Value)
		}
	}
	args = append(args, sums)
	places := map[string]int{} // ranked list → its place in keys, from 1
	for i := range w.Ops {
		op := &w.Ops[i]
		if op.Kind != readstore.AddSum {
			continue
		}
		if op.Rank != "" && places[op.Rank] == 0 {
			keys = append(keys, s.bucketKey(w.Bucket, RankPart+op.Rank))
			places[op.Rank] = len(keys)
		}
		args = append(args, &op.ID, &op.Field, op.Delta, places[op.Rank])
	}
	args = append(args, entries)
	for i := range w.Ops {
		if op := &w.Ops[i]; op.Kind == readstore.SetEntry {
			args = append(args, &op.ID, &op.Field, &op.Value)
		}
	}
	args = append(args, parked)
	for i := range w.Ops {
		if op := &w.Ops[i]; op.Kind == readstore.SetParked {
			args = append(args, op.Field+"/"+op.ID, &op.Value)
		}
	}
	return &call{keys: keys, args: args}, nil
}

// decode reads the script's answer. An error means that it is not known what became of the write.
func decode(w *readstore.Write, cmd *redis.Cmd) (readstore.Result, error) {
	answer, err := cmd.Slice()
	if err != nil {
		return readstore.Result{}, err
	}
	if len(answer) == 1 && answer[0] == int64(1) {
		return readstore.Result{Applied: true}, nil
	}
	if len(answer) != 2 {
		return readstore.Result{}, fmt.Errorf("script answered %v", answer)
	}
	if answer[0] == int64(2) {
		return readstore.Result{Err: fmt.Errorf("writing %s: %v: %w", w.Bucket, answer[1], readstore.ErrBroken)}, nil
	}
	flat, err := texts(answer[1])
	if err != nil {
		return readstore.Result{}, err
	}
	all, err := parseCheckpoints(flat)
	if err != nil {
		return readstore.Result{Err: fmt.Errorf("writing %s: %w", w.Bucket, err)}, nil
	}
	stored := readstore.Checkpoints{}
	for _, a := range w.Advances {
		if checkpoint, ok := all[a.Source]; ok {
			stored[a.Source] = checkpoint
		}
	}
	return readstore.Result{Stored: stored}, nil
}
