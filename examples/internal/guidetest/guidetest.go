// Package guidetest holds a guide to the example that it walks through: the tests of examples are its callers. It
// owns what a block of a guide means. It refuses a guide with a block or a command that it does not understand:
// nobody would know whether that is true.
package guidetest

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
)

// Program is one of the binaries of an App.
type Program struct {
	App ledgerline.App
	Run func(context.Context, ledgerline.App, ledgerline.Process) int
}

// Guide is a page and what is typed in it.
type Guide struct {
	// Page is the guide's path. Have a link to it inside the example's module: the go tool looks for changes,
	// before it takes a cached result for good, at what was opened by a name inside the module only.
	Page string
	// Module is where the guide's files are, and where its commands are typed.
	Module string
	// Programs are the binaries, by what stands after "go run".
	Programs map[string]Program
	// Anew has each section whose heading begins with a number start on empty services, with the commands that
	// stand before the first of them. Defaults to one run of the whole.
	Anew bool
}

// Seen counts what was found in a guide.
type Seen struct{ Excerpts, Programs, Requests, Outputs int }

// Check reads the guide and does what it says, on an embedded broker, registry and Redis:
//
//   - a block that names a file, as in "```go app/app.go", must stand in it word for word, but for lines "// …",
//     which stand for anything;
//   - the commands of a block of sh are run in their order. The comment behind one says its exit code ("exit 1"),
//     the status that curl gets and the code of a refusal ("409 parcel-exists"), or in which terminal it serves
//     from then on ("terminal 1"), until the line "# terminal 1: Ctrl-C". GENERATION stands for the one that
//     rebuild run made last;
//   - a block of text or json must be what the last command printed, with … for anything; a query may get it some
//     seconds later;
//   - a block of diff that names a file below schemas is a mistake: the next block of sh is run with it.
func Check(t *testing.T, g Guide) (seen Seen) {
	t.Helper()
	page, err := os.ReadFile(g.Page)
	if err != nil {
		t.Fatal(err)
	}
	if !g.Anew {
		newReader(t, g, &seen).read(string(page))
		return seen
	}
	parts := regexp.MustCompile(`(?m)^## \d.*$`).Split(string(page), -1)
	for i, heading := range regexp.MustCompile(`(?m)^## \d.*$`).FindAllString(string(page), -1) {
		t.Run(strings.TrimPrefix(heading, "## "), func(t *testing.T) {
			r := newReader(t, g, &seen)
			r.read(parts[0])
			r.read(parts[i+1])
		})
	}
	return seen
}

var blocks = regexp.MustCompile("(?ms)^```(\\w*) ?([^\n]*)\n(.*?)^```$")

// read goes through the blocks of a part of the guide.
func (r *reader) read(part string) {
	r.t.Helper()
	for _, block := range blocks.FindAllStringSubmatch(part, -1) {
		language, file, text := block[1], block[2], block[3]
		switch {
		case language == "diff" && file != "":
			r.makeMistake(file, text)
		case file != "":
			r.seen.Excerpts++
			r.checkExcerpt(file, text)
		case language == "sh":
			for _, line := range strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\\\n", "")), "\n") {
				r.run(line)
			}
			r.mistake = nil
		case language == "json" || language == "text":
			r.seen.Outputs++
			r.checkPrinted(text)
		default:
			r.t.Errorf("a block of the guide is neither an excerpt of a file nor sh, text, json or a mistake:\n%s", text)
		}
	}
}

// checkPrinted asks a query again for some time, since readers hear of a promotion within a second.
func (r *reader) checkPrinted(text string) {
	r.t.Helper()
	want := regexp.MustCompile("(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(text)), "…", ".*") + "$")
	for deadline := time.Now().Add(settling); r.again != nil && !want.MatchString(r.printed) && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
		r.again()
	}
	if !want.MatchString(r.printed) {
		r.t.Errorf("the guide says that this is printed:\n%s\nit is:\n%s", text, r.printed)
	}
}

var elided = regexp.MustCompile(`(?m)^\s*// …\n`)

func (r *reader) checkExcerpt(file, excerpt string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Module, file))
	if err != nil {
		r.t.Error(err)
		return
	}
	rest := "\n" + string(text)
	for _, part := range elided.Split(excerpt, -1) {
		_, after, found := strings.Cut(rest, "\n"+part)
		if !found {
			r.t.Errorf("%s does not have, in this place:\n%s", file, part)
			return
		}
		rest = "\n" + after
	}
}
