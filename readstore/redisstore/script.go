package redisstore

import (
	"context"
	_ "embed" // for the scripts
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ledgerline/ledgerline/readstore"
)

//go:embed lua/apply.lua
var applySource string

//go:embed lua/checkpoints.lua
var checkpointsSource string

//go:embed lua/load.lua
var loadSource string

//go:embed lua/parked.lua
var parkedSource string

//go:embed lua/fields.lua
var fieldsSource string

//go:embed lua/ranked.lua
var rankedSource string

//go:embed lua/inspect.lua
var inspectSource string

//go:embed lua/catalog.lua
var catalogSource string

//go:embed lua/update_catalog.lua
var updateCatalogSource string

var (
	applyScript         = redis.NewScript(applySource)
	loadScript          = redis.NewScript(checkpointsSource + loadSource)
	parkedScript        = redis.NewScript(checkpointsSource + parkedSource)
	fieldsScript        = redis.NewScript(checkpointsSource + fieldsSource)
	rankedScript        = redis.NewScript(checkpointsSource + rankedSource)
	inspectScript       = redis.NewScript(inspectSource)
	catalogScript       = redis.NewScript(catalogSource)
	updateCatalogScript = redis.NewScript(updateCatalogSource)
)

// read runs a script that writes nothing.
func (s *Store) read(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]any, error) {
	answer, err := script.RunRO(ctx, s.client, keys, args...).Slice()
	if err != nil && redis.HasErrorPrefix(err, "unknown command") { // Redis before 7.0
		answer, err = script.Run(ctx, s.client, keys, args...).Slice()
	}
	return answer, err
}

// readBucket runs a script that answers checkpoints and then pairs.
func (s *Store) readBucket(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]string, readstore.Checkpoints, error) {
	answer, err := s.read(ctx, script, keys, args...)
	if err != nil {
		return nil, nil, err
	}
	if len(answer) != 2 {
		return nil, nil, fmt.Errorf("script answered %d parts, not 2", len(answer))
	}
	flat, err := texts(answer[0])
	if err != nil {
		return nil, nil, err
	}
	checkpoints, err := parseCheckpoints(flat)
	if err != nil {
		return nil, nil, err
	}
	pairs, err := texts(answer[1])
	return pairs, checkpoints, err
}

// texts reads an answer that is a list of an even number of texts.
func texts(answer any) ([]string, error) {
	list, ok := answer.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, fmt.Errorf("script answered %T, not a list of pairs", answer)
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			return nil, fmt.Errorf("script answered a list with %T, not text", v)
		}
	}
	return out, nil
}

// parseCheckpoints reads the pairs of a bucket's checkpoints. A broken one makes an error that wraps
// readstore.ErrBroken, before any other.
func parseCheckpoints(flat []string) (readstore.Checkpoints, error) {
	checkpoints := make(readstore.Checkpoints, len(flat)/2)
	var unreadable error
	for i := 0; i < len(flat); i += 2 {
		if strings.HasPrefix(flat[i+1], readstore.BrokenPrefix) {
			return nil, fmt.Errorf("checkpoint of %s is %q: %w", flat[i], flat[i+1], readstore.ErrBroken)
		}
		source, err := readstore.ParseSource(flat[i])
		if err != nil {
			unreadable = err
			continue
		}
		checkpoint, err := readstore.ParseCheckpoint(flat[i+1])
		if err != nil {
			unreadable = fmt.Errorf("source %s: %w", source, err)
			continue
		}
		if checkpoint != (readstore.Checkpoint{}) {
			checkpoints[source] = checkpoint
		}
	}
	if unreadable != nil {
		return nil, unreadable
	}
	return checkpoints, nil
}
