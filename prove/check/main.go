// Command check judges the runs of a proof. It reads what they wrote down (package history), works every
// figure out of it by itself and prints them as one line of JSON. It shares no code with what it judges:
// its decoder is another library's, its schemas come from the .avsc files, its partitioner and its idea of
// a tally are its own.
//
//	check [flags] FOLDER...    every folder at or below these that holds a run
//	check -read FOLDER...      the same, of the read side
//	check -evolution FOLDER    the one run of the proof of evolution
//
// The exit code is 1 if a law is broken; then standard error names the law, the seed, the folder and the
// command to run it again.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ledgerline/ledgerline/prove/history"
)

func main() { os.Exit(check(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	root    string
	floor   int
	mutants string
	memory  string
	// fewest that there must be
	aggregates, takeovers int
	restarted             int64
	gone                  int64
	// of the read side: how much there must be
	read                            bool
	runs, rewinds, kills, rollbacks int
	reads, seeds                    int
	evolution                       bool
}

func check(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "the repository, for its .avsc files")
	flags.IntVar(&o.floor, "floor", 0, "how often each kind of fault must have struck in simulation")
	flags.StringVar(&o.mutants, "mutants", "", "file with what became of the mutants, a line of JSON each")
	flags.StringVar(&o.memory, "memory", "", "file with what was measured of memory, of workers or of rebuild jobs")
	flags.IntVar(&o.aggregates, "aggregates", 0, "fewest aggregates that memory must be measured of")
	flags.IntVar(&o.takeovers, "takeovers", 0, "fewest takeovers that there must be")
	flags.Int64Var(&o.restarted, "restarted-ms", 5000, "most that the p99 of takeovers by the same slot may be")
	flags.Int64Var(&o.gone, "gone-ms", 15000, "most that the p99 of takeovers by another slot may be")
	flags.BoolVar(&o.read, "read", false, "judge runs of the read side")
	flags.BoolVar(&o.evolution, "evolution", false, "judge a run of evolution")
	flags.IntVar(&o.runs, "runs", 0, "fewest runs that there must be of each mode of the read side")
	flags.IntVar(&o.rewinds, "rewinds", 0, "fewest rewinds that there must be")
	flags.IntVar(&o.kills, "rebuild-kills", 0, "fewest rebuild runs that must have been killed")
	flags.IntVar(&o.rollbacks, "rollbacks", 0, "fewest rollbacks that there must be")
	flags.IntVar(&o.reads, "reads", 0, "fewest queries with a position that there must be")
	flags.IntVar(&o.seeds, "seeds", 0, "fewest runs of the read side that there must be in simulation")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	report, broken, err := judge(o, flags.Args())
	if err != nil {
		fmt.Fprintln(stderr, "check:", err)
		return 2
	}
	for _, v := range broken {
		fmt.Fprintln(stderr, "check:", v)
	}
	line, err := json.Marshal(report)
	if err != nil {
		fmt.Fprintln(stderr, "check:", err)
		return 2
	}
	fmt.Fprintln(stdout, string(line))
	if len(broken) > 0 {
		return 1
	}
	return 0
}

// judge returns the report, and what is broken.
func judge(o options, dirs []string) (report any, broken []string, err error) {
	if o.evolution {
		r, err := judgeEvolution(o, dirs)
		if err != nil {
			return nil, nil, err
		}
		return r, r.broken, nil
	}
	schemas, err := loadSchemas(o.root)
	if err != nil {
		return nil, nil, err
	}
	if o.read {
		found, unfinished, err := judgeRuns(dirs, schemas, judgeReadRun)
		if err != nil {
			return nil, nil, err
		}
		r, err := newReadReport(o, found)
		if err != nil {
			return nil, nil, err
		}
		return r, append(r.broken, unfinished...), nil
	}
	found, unfinished, err := judgeRuns(dirs, schemas, judgeRun)
	if err != nil {
		return nil, nil, err
	}
	r, err := newReport(o, found)
	if err != nil {
		return nil, nil, err
	}
	return r, append(r.broken, unfinished...), nil
}

// judgeRuns judges every finished run, two at a time, and says which are not finished.
func judgeRuns[F any](dirs []string, schemas schemas, judge func(string, schemas) (F, error)) (found []F, unfinished []string, err error) {
	folders, err := findRuns(dirs)
	if err != nil {
		return nil, nil, err
	}
	folders = slices.DeleteFunc(folders, func(dir string) bool {
		if !history.Finished(dir) {
			unfinished = append(unfinished, dir+" is not finished, and not judged")
			return true
		}
		return false
	})
	found = make([]F, len(folders))
	errs := make([]error, len(folders))
	turns := make(chan struct{}, 2)
	var all sync.WaitGroup
	for i, dir := range folders {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			found[i], errs[i] = judge(dir, schemas)
		})
	}
	all.Wait()
	return found, unfinished, errors.Join(errs...)
}

// findRuns returns the folders with a run.json at or below dirs.
func findRuns(dirs []string) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "run.json" {
				found = append(found, filepath.Dir(path))
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("looking for runs: %w", err)
		}
	}
	if len(found) == 0 && len(dirs) > 0 {
		return nil, fmt.Errorf("no runs at or below %v", dirs)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// finding is what came of judging one run.
type finding struct {
	dir       string
	run       history.Run
	faults    map[string]int
	takeovers []history.Takeover
	commands  int
	// counts says how often each law is broken, details how, for some of them.
	counts  map[string]int
	details []violation
	// whole says that the run has what a history needs to be worth checking.
	whole bool
}

type violation struct{ law, detail string }

// maxDetails is how many violations of one law are told; all are counted.
const maxDetails = 3

func (f *finding) broke(law, format string, args ...any) {
	f.counts[law]++
	if f.counts[law] <= maxDetails {
		f.details = append(f.details, violation{law, fmt.Sprintf(format, args...)})
	}
}

func judgeRun(dir string, schemas schemas) (*finding, error) {
	run, err := history.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	ops, err := history.Ops(dir)
	if err != nil {
		return nil, err
	}
	faults, err := history.Faults(dir)
	if err != nil {
		return nil, err
	}
	takeovers, err := history.Takeovers(dir)
	if err != nil {
		return nil, err
	}
	holds, err := history.Holds(dir)
	if err != nil {
		return nil, err
	}
	records, err := history.Records(dir)
	if err != nil {
		return nil, err
	}
	f := &finding{dir: dir, run: run, faults: map[string]int{}, takeovers: takeovers, counts: map[string]int{}}
	for _, fault := range faults {
		f.faults[fault.Kind]++
	}
	log, err := readLog(run, records, schemas)
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", dir, err)
	}
	f.commands = len(ops)
	f.whole = isWhole(ops)
	f.checkLog(log)
	f.checkDecisions(log)
	f.checkTold(log, ops)
	f.checkSlots(holds)
	f.checkHistory(log, ops)
	return f, nil
}
