package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ledgerline/ledgerline/prove/history"
)

// item is one of a list: a group, or a group's entry of a tally.
type item struct {
	ID                           string
	Events, Codes, Version, Code int64
}

// codeVersion is what the item was projected with, 0 if with several.
func (i item) codeVersion() int64 {
	switch {
	case i.Version > 0:
		return max(i.Code, 1)
	case i.Codes == 0:
		return 1
	case i.Codes%i.Events == 0:
		return i.Codes / i.Events
	}
	return 0
}

// checkWalk wants all items of a list to be of one code version: generations differ in it. A list that was
// read to its end must have all that there was at its position: of the ranked list that can be said if it
// was one page, since places change between two.
func (f *readFinding) checkWalk(folded *folded, w history.Walk) error {
	position, err := readPosition(w.Position)
	if err != nil {
		return err
	}
	f.reads += len(w.Pages)
	var all []item
	for _, body := range w.Pages {
		var page struct{ Items []item }
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			return fmt.Errorf("answer %q: %w", body, err)
		}
		all = append(all, page.Items...)
	}
	what := fmt.Sprintf("%s at %.3f s: the list of %s", w.Processor, float64(w.At)/1e9, strings.TrimSpace("groups "+w.Group))
	for _, i := range all {
		if i.codeVersion() != all[0].codeVersion() || i.codeVersion() == 0 {
			f.broke(mixedReads, "%s shows %+v beside %+v: those are of two generations", what, i, all[0])
			return nil
		}
	}
	switch {
	case !w.Ended || w.Group == "" && len(w.Pages) > 1:
	case w.Group != "":
		entries := 0
		for tally := range folded.group(w.Group).tallies {
			if home(tally, folded.partitions) == position.partition && folded.tallies[tally][0].input <= position.offset {
				entries++
			}
		}
		if len(all) < entries {
			f.broke(staleReads, "%s has %d entries, want %d at least to have %s", what, len(all), entries, w.Position)
		}
	default:
		for id := range folded.groups {
			want := folded.eventsUpTo(id, position)
			i := slices.IndexFunc(all, func(i item) bool { return i.ID == id })
			if want > 0 && (i < 0 || all[i].Events < want) {
				f.broke(staleReads, "%s does not show %s with %d events at least to have %s", what, id, want, w.Position)
			}
		}
	}
	return nil
}

// checkTamper wants verify to have named what was changed.
func (f *readFinding) checkTamper(t history.Tamper) {
	f.tampered++
	tag, _, _ := strings.Cut(strings.TrimPrefix(t.Key, "prove:{"), "}")
	entry := strings.NewReplacer("/e/", "/", "/s/", "/").Replace(t.Field) // what a member of the index stands for
	for _, said := range t.Said {
		if strings.Contains(said, tag) && (strings.Contains(said, t.Field) || strings.Contains(said, entry)) {
			f.tamperedFound++
			return
		}
	}
	f.broke(tamperedFound, "%s: %s of %s; verify said %q", t.What, t.Field, t.Key, t.Said)
}
