package app_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/local"
)

// guidePath is a link to the guide, which lies outside this module: the go tool looks for changes, before
// it takes a cached result for good, at what was opened by a name inside the module only.
const guidePath = "testdata/guide.md"

// module is where the guide's files are, and where its commands are typed.
const module = ".."

var binaries = map[string]binary{
	"./cmd/ingest": ledgerline.RunIngest, "./cmd/processor": ledgerline.RunProcessor,
	"./cmd/rebuild": ledgerline.RunRebuild, "./cmd/provision": ledgerline.RunProvision,
}

// TestGuide holds the guide to this module. A block that names a file, as in "```go app/app.go", must
// stand in it word for word, but for lines "// …", which stand for anything. The commands of sh blocks
// are run in their order, with the status that the comment behind a curl names, and a block of json
// must be what the curl before it got.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile(guidePath)
	if err != nil {
		t.Fatal(err)
	}
	g := &reader{local: start(t)}
	excerpts := 0
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*) ?([^\n]*)\n(.*?)^```$").FindAllStringSubmatch(string(guide), -1) {
		language, file, text := block[1], block[2], block[3]
		switch {
		case file != "":
			excerpts++
			checkExcerpt(t, file, text)
		case language == "sh":
			for _, line := range strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\\\n", "")), "\n") {
				g.run(t, line)
			}
		case language == "json":
			if got := strings.TrimSpace(text); got != g.body {
				t.Errorf("the guide says that the answer is\n%s\nit is\n%s", got, g.body)
			}
		default:
			t.Errorf("a block of the guide is neither an excerpt of a file nor sh nor json:\n%s", text)
		}
	}
	if excerpts < 10 || g.requests < 4 || g.programs < 6 {
		t.Errorf("found %d excerpts, %d requests and %d commands in the guide: the test does not see them", excerpts, g.requests, g.programs)
	}
}

func checkExcerpt(t *testing.T, file, excerpt string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(module, file))
	if err != nil {
		t.Error(err)
		return
	}
	rest := "\n" + string(text)
	for _, part := range regexp.MustCompile(`(?m)^\s*// …\n`).Split(excerpt, -1) {
		_, after, found := strings.Cut(rest, "\n"+part)
		if !found {
			t.Errorf("%s does not have, in this place:\n%s", file, part)
			return
		}
		rest = "\n" + after
	}
}

// reader does what a reader of the guide does.
type reader struct {
	local              *local.Local
	requests, programs int
	body               string // of the last answer
	position           string // of the last command accepted
}

func (g *reader) run(t *testing.T, line string) {
	t.Helper()
	command, comment, _ := strings.Cut(line, " # ")
	words := shellWords(command)
	switch {
	case len(words) == 0:
	case words[0] == "curl":
		g.requests++
		g.curl(t, line, words[1:], strings.TrimSpace(comment))
	case len(words) > 3 && words[0] == "go" && words[1] == "run":
		g.programs++
		g.program(t, line, words[2], words[3:])
	case command == "go run ./cmd/quickstart":
		mustBeFolder(t, "../../cmd/quickstart")
	case words[0] == "cd" && len(words) == 2:
		mustBeFolder(t, filepath.Join("../..", words[1]))
	case strings.TrimSpace(command) != "go test ./...":
		t.Errorf("the guide has a command that this test cannot check: %s", line)
	}
}

func mustBeFolder(t *testing.T, path string) {
	t.Helper()
	if info, err := os.Stat(filepath.Join(module, path)); err != nil || !info.IsDir() {
		t.Errorf("%s is no folder: %v", path, err)
	}
}

// program runs one of the four. What serves is ended before it begins: what counts is that it is not misused.
func (g *reader) program(t *testing.T, line, name string, args []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if args[0] == "serve" {
		cancel()
	}
	b, ok := binaries[name]
	if !ok {
		t.Errorf("there is no binary %s: %s", name, line)
		return
	}
	if code, printed := run(ctx, b, append(args, strings.Fields(g.local.Flags())...)...); code != ledgerline.ExitOK {
		t.Errorf("%s: exit code %d, it says:\n%s", line, code, printed)
	}
}

// curl understands the options that the guide uses.
func (g *reader) curl(t *testing.T, line string, words []string, comment string) {
	t.Helper()
	method, body, path := http.MethodGet, "", ""
	var headers []string
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-s" || w == "-si":
		case w == "--json" && i+1 < len(words):
			i++
			method, body = http.MethodPost, words[i]
		case w == "-H" && i+1 < len(words):
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			headers = append(headers, name, value)
			if name == "Ledgerline-Position" && value != g.position {
				t.Errorf("%s\n the position of the last command is %s", line, g.position)
			}
		case strings.HasPrefix(w, "localhost:"):
			path = w[strings.IndexByte(w, '/'):]
		default:
			t.Errorf("what is %s in: %s", w, line)
		}
	}
	a := request(t, method, g.local.URL+path, body, headers...)
	g.body = a.body
	if a.position != "" && method == http.MethodPost {
		g.position = a.position
	}
	if want, _, _ := strings.Cut(comment, " "); want != strconv.Itoa(a.status) {
		t.Errorf("%s\n got %d %s", line, a.status, a.body)
	}
	if _, code, refused := strings.Cut(comment, " "); refused && !strings.Contains(a.body, `"code":"`+code+`"`) {
		t.Errorf("%s\n got %s", line, a.body)
	}
}

// shellWords splits a command at spaces, but for those within single quotes.
func shellWords(command string) (words []string) {
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
