package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ledgerline/ledgerline/readstore"
)

// inspectTries is how often Inspect begins again because a ranked list came into being meanwhile.
const inspectTries = 10

// Inspect returns everything under the bucket's tag as of one moment. Redis answers nobody else while
// it reads the bucket, and goes through the names of all its keys before and after.
func (s *Store) Inspect(ctx context.Context, b readstore.Bucket) (readstore.Content, error) {
	start := s.bucketKey(b, "")
	before, err := s.scan(ctx, start)
	for range inspectTries {
		if err != nil {
			break
		}
		var content readstore.Content
		if content, err = s.inspect(ctx, b, before); err != nil {
			break
		}
		// A key made between the scan and the script is missing in content, and is in a scan after it.
		var after map[string]bool
		if after, err = s.scan(ctx, start); err != nil {
			break
		}
		if isSubset(after, before) {
			return content, nil
		}
		maps.Copy(before, after)
	}
	if err == nil {
		err = errors.New("keys are being made all the time")
	}
	return readstore.Content{}, fmt.Errorf("inspecting %s: %w", b, err)
}

func isSubset(a, b map[string]bool) bool {
	for key := range a {
		if !b[key] {
			return false
		}
	}
	return true
}

// inspect reads the bucket, given the keys under its tag.
func (s *Store) inspect(ctx context.Context, b readstore.Bucket, under map[string]bool) (readstore.Content, error) {
	keys := s.bucketKeys(b)
	start, rankStart := s.bucketKey(b, ""), s.bucketKey(b, RankPart)
	var strange []string
	for _, key := range slices.Sorted(maps.Keys(under)) {
		switch {
		case strings.HasPrefix(key, rankStart):
			keys = append(keys, key)
		case !slices.Contains(fixedParts, strings.TrimPrefix(key, start)):
			strange = append(strange, fmt.Sprintf("key %s: no such part", key))
		}
	}
	answer, err := s.read(ctx, inspectScript, keys)
	if err != nil {
		return readstore.Content{}, err
	}
	parts := make([][]string, len(keys))
	for i, key := range keys {
		var kind string
		if kind, parts[i], err = part(answer, i); err != nil {
			return readstore.Content{}, err
		}
		if want := partType(i); kind != want && kind != "none" {
			strange = append(strange, fmt.Sprintf("key %s: is a %s, not a %s", key, kind, want))
		}
	}
	checkpoints, err := parseCheckpoints(parts[0])
	if err != nil {
		return readstore.Content{}, err
	}
	content := readstore.Content{
		Documents: toMap(parts[1]), Sums: make(map[string]int64, len(parts[2])/2), Entries: toMap(parts[3]),
		Ranked: make(map[string]map[string]int64, len(keys)-len(fixedParts)), Checkpoints: checkpoints, Parked: toMap(parts[4]), Strange: strange,
	}
	for name, text := range toMap(parts[2]) {
		if content.Sums[name], err = strconv.ParseInt(text, 10, 64); err != nil {
			content.Strange = append(content.Strange, fmt.Sprintf("sum %s: %q is not a whole number", name, text))
		}
	}
	for i := len(fixedParts); i < len(keys); i++ {
		if len(parts[i]) > 0 {
			addRanked(&content, strings.TrimPrefix(keys[i], rankStart), parts[i])
		}
	}
	compareIndex(&content, parts[5])
	slices.Sort(content.Strange)
	return content, nil
}

// addRanked takes a ranked list over from its ids and scores.
func addRanked(content *readstore.Content, list string, pairs []string) {
	ranked := make(map[string]int64, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		sum, ok := parseScore(pairs[i+1])
		if !ok {
			content.Strange = append(content.Strange, fmt.Sprintf("ranked list %s: %s has score %s, not a whole number", list, pairs[i], pairs[i+1]))
		}
		ranked[pairs[i]] = sum
	}
	content.Ranked[list] = ranked
}

// compareIndex holds the index to the sums and entries: a member for each, all scores 0.
func compareIndex(content *readstore.Content, pairs []string) {
	report := func(format string, args ...any) {
		content.Strange = append(content.Strange, fmt.Sprintf(format, args...))
	}
	members := make(map[string]bool, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		member := pairs[i]
		members[member] = true
		if pairs[i+1] != "0" {
			report("index: %s has score %s, not 0", member, pairs[i+1])
		}
		id, rest, _ := strings.Cut(member, "/")
		kind, field, ok := strings.Cut(rest, "/")
		name, known := id+"/"+field, false
		switch {
		case ok && kind == "s":
			_, known = content.Sums[name]
		case ok && kind == "e":
			_, known = content.Entries[name]
		}
		if !known {
			report("index: %s has no sum or entry", member)
		}
	}
	for name := range content.Sums {
		if id, field, _ := strings.Cut(name, "/"); !members[id+"/s/"+field] {
			report("sum %s: not in the index", name)
		}
	}
	for name := range content.Entries {
		if id, field, _ := strings.Cut(name, "/"); !members[id+"/e/"+field] {
			report("entry %s: not in the index", name)
		}
	}
}

func partType(i int) string {
	if i < len(fixedParts)-1 {
		return "hash"
	}
	return "zset"
}

func part(answer []any, i int) (string, []string, error) {
	if i >= len(answer) {
		return "", nil, fmt.Errorf("script answered %d parts", len(answer))
	}
	pair, ok := answer[i].([]any)
	if !ok || len(pair) != 2 {
		return "", nil, fmt.Errorf("script answered %T for part %d", answer[i], i)
	}
	content, err := texts(pair[1])
	return fmt.Sprint(pair[0]), content, err
}

func toMap(pairs []string) map[string]string {
	out := make(map[string]string, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}
