package guidetest

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/processing/embedded"
)

const (
	// patience is how long something may take on a busy machine.
	patience = 60 * time.Second
	// settling is how long a query may get what was so before a promotion, on a busy machine.
	settling = 10 * time.Second
)

// reader does what a reader of the guide does.
type reader struct {
	t *testing.T
	Guide
	seen      *Seen
	services  []string          // the flags that reach them
	addresses map[string]string // ours, by those of the guide
	terminals map[string]func() // what ends what serves there
	mistake   *mistake
	printed   string // by the last command
	position  string // of the last command accepted
	again     func() // asks the last query again, nil if the last command was none
	// generation is the one that rebuild run made last.
	generation string
}

// mistake is a schema with something wrong in it.
type mistake struct{ program, file, text string }

// newReader starts services for the test.
func newReader(t *testing.T, g Guide, seen *Seen) *reader {
	t.Helper()
	s, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{
		t: t, Guide: g, seen: seen, addresses: map[string]string{}, terminals: map[string]func(){},
		services: []string{"--brokers", s.Brokers[0], "--registry-url", s.RegistryURL, "--redis-url", s.RedisURL},
	}
	t.Cleanup(func() {
		for _, end := range r.terminals {
			end()
		}
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("closing the services: %v", err)
		}
	})
	return r
}

var (
	interrupt = regexp.MustCompile(`^# (terminal \d+): Ctrl-C$`)
	ready     = regexp.MustCompile(`generation (\S+) of \S+ is ready`)
)

func (r *reader) run(line string) {
	r.t.Helper()
	command, comment, _ := strings.Cut(line, " # ")
	words := shellWords(command)
	r.again = nil
	if end := interrupt.FindStringSubmatch(line); end != nil {
		if r.terminals[end[1]] == nil {
			r.t.Fatalf("nothing serves there: %s", line)
		}
		r.terminals[end[1]]()
		delete(r.terminals, end[1])
		return
	}
	switch {
	case len(words) == 0 || strings.TrimSpace(command) == "go test ./...":
	case words[0] == "curl":
		r.seen.Requests++
		r.curl(line, words[1:], strings.TrimSpace(comment))
	case strings.TrimSpace(command) == "go run ./cmd/quickstart":
		r.mustBeFolder("../../cmd/quickstart")
	case len(words) > 2 && words[0] == "go" && words[1] == "run":
		r.seen.Programs++
		r.program(line, words[2:], strings.TrimSpace(comment))
	case words[0] == "cd" && len(words) == 2:
		r.mustBeFolder(filepath.Join("../..", words[1]))
	default:
		r.t.Errorf("the guide has a command that this test cannot check: %s", line)
	}
}

func (r *reader) mustBeFolder(path string) {
	r.t.Helper()
	if info, err := os.Stat(filepath.Join(r.Module, path)); err != nil || !info.IsDir() {
		r.t.Errorf("%s is no folder: %v", path, err)
	}
}

// program runs a binary, to its end unless it serves.
func (r *reader) program(line string, words []string, comment string) {
	r.t.Helper()
	p, args, ok := r.find(words)
	if !ok {
		r.t.Errorf("there is no such binary: %s", line)
		return
	}
	args = append(slices.Clone(args), r.services...)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "GENERATION", r.generation)
	}
	if args[0] == "serve" {
		r.serve(line, p, args, comment)
		return
	}
	code, stdout, stderr := start(r.t.Context(), p, args...)
	if r.printed = strings.TrimSpace(stdout); r.printed == "" {
		r.printed = strings.TrimSpace(stderr)
	}
	if made := ready.FindStringSubmatch(stdout); made != nil {
		r.generation = made[1]
	}
	if want, _ := strings.CutPrefix(comment, "exit "); strconv.Itoa(code) != want && (want != comment || code != ledgerline.ExitOK) {
		r.t.Errorf("%s: exit code %d, it says:\n%s%s", line, code, stdout, stderr)
	}
}

// find returns the program that words begin with, and what they say to it.
func (r *reader) find(words []string) (p Program, args []string, ok bool) {
	for n := 1; n <= len(words) && !ok; n++ {
		p, ok = r.Programs[strings.Join(words[:n], " ")]
		args = words[n:]
	}
	if m := r.mistake; ok && m != nil && strings.HasPrefix(words[0]+"/", "./"+m.program) {
		p.App.Schemas = r.mistaken(p.App.Schemas)
	}
	return p, args, ok && len(args) > 0
}

func start(ctx context.Context, p Program, args ...string) (code int, stdout, stderr string) {
	var out, problems strings.Builder
	code = p.Run(ctx, p.App, ledgerline.Process{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems})
	return code, out.String(), problems.String()
}

// serve starts a binary that serves and waits until it is ready.
func (r *reader) serve(line string, p Program, args []string, terminal string) {
	r.t.Helper()
	if terminal == "" {
		terminal = line
	}
	if r.terminals[terminal] != nil {
		r.t.Fatalf("something else serves there already: %s", line)
	}
	given := map[string]string{"--http-addr": "127.0.0.1:8080", "--admin-addr": "127.0.0.1:9091"}
	for i := 0; i+1 < len(args); i++ {
		if _, ok := given[args[i]]; ok {
			given[args[i]] = args[i+1]
		}
	}
	for flag, address := range given {
		args = append(args, flag, r.address(address)) // the last counts
	}
	ctx, cancel := context.WithCancel(context.Background())
	said, ended := "", make(chan struct{})
	go func() {
		defer close(ended)
		code, stdout, stderr := start(ctx, p, append(args, "--log-level", "warn")...)
		said = fmt.Sprintf("exit code %d, it says:\n%s%s", code, stdout, stderr)
		if code != ledgerline.ExitOK {
			r.t.Errorf("%s: %s", line, said)
		}
	}()
	r.terminals[terminal] = func() {
		cancel()
		<-ended
	}
	deadline, tick := time.NewTimer(patience), time.NewTicker(10*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		code, _, stderr := start(ctx, p, "healthcheck", "--admin-addr", r.address(given["--admin-addr"]))
		if code == ledgerline.ExitOK {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			r.t.FailNow()
		case <-deadline.C:
			cancel()
			<-ended
			r.t.Fatalf("%s: not ready in %s: %s; %s", line, patience, stderr, said)
		}
	}
}

// address returns ours for one of the guide.
func (r *reader) address(of string) string {
	r.t.Helper()
	if r.addresses[of] == "" {
		ports, release, err := stack.ReservePorts(1)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(release)
		r.addresses[of] = "127.0.0.1:" + strconv.Itoa(ports[0])
	}
	return r.addresses[of]
}

// makeMistake remembers what a diff makes of a schema.
func (r *reader) makeMistake(file, diff string) {
	r.t.Helper()
	program, inside, below := strings.Cut(file, "schemas/")
	text, err := os.ReadFile(filepath.Join(r.Module, file))
	if err != nil || !below {
		r.t.Fatalf("%s is no schema: %v", file, err)
	}
	var was, is strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			was.WriteString(line[1:])
		}
		if line[0] != '-' {
			is.WriteString(line[1:])
		}
	}
	if strings.Count(string(text), was.String()) != 1 {
		r.t.Fatalf("%s does not have, once:\n%s", file, was.String())
	}
	r.mistake = &mistake{program, inside, strings.Replace(string(text), was.String(), is.String(), 1)}
}

// mistaken returns schemas with the mistake.
func (r *reader) mistaken(schemas fs.FS) fs.FS {
	r.t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(schemas, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var text []byte
			text, err = fs.ReadFile(schemas, path)
			files[path] = &fstest.MapFile{Data: text}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	files[r.mistake.file] = &fstest.MapFile{Data: []byte(r.mistake.text)}
	return files
}

// curl understands the options that guides use.
func (r *reader) curl(line string, words []string, comment string) {
	r.t.Helper()
	method, body, address := http.MethodGet, "", ""
	headers := http.Header{}
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-s" || w == "-si":
		case w == "--json" && i+1 < len(words):
			i++
			method, body = http.MethodPost, words[i]
		case w == "-H" && i+1 < len(words):
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			headers.Set(name, value)
			if name == "Ledgerline-Position" && value != r.position {
				r.t.Errorf("%s\n the position of the last command is %s", line, r.position)
			}
		case strings.HasPrefix(w, "localhost:"):
			host, path, _ := strings.Cut(w, "/")
			address = "http://" + r.address("127.0.0.1:"+strings.TrimPrefix(host, "localhost:")) + "/" + path
		default:
			r.t.Errorf("what is %s in: %s", w, line)
		}
	}
	status, position := r.request(method, address, body, headers)
	if method == http.MethodGet {
		r.again = func() { r.request(method, address, body, headers) }
	}
	if position != "" && method == http.MethodPost {
		r.position = position
	}
	want, code, refused := strings.Cut(comment, " ")
	if want != strconv.Itoa(status) || refused && !strings.Contains(r.printed, `"code":"`+code+`"`) {
		r.t.Errorf("%s\n got %d %s", line, status, r.printed)
	}
}

// request asks an API, and keeps what it answers.
func (r *reader) request(method, address, body string, headers http.Header) (status int, position string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header = headers
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.printed = strings.TrimSpace(string(text))
	return response.StatusCode, response.Header.Get("Ledgerline-Position")
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
