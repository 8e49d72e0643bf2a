package ledgerline

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/ledgerline/ledgerline/processing"
)

type ingestSend struct {
	connectFlags
	outputFlag
	File    string `arg:"" help:"File of JSON lines, - for standard input."`
	Name    string `help:"Name that command ids are derived from, with the line number (default: the file's base name)."`
	Restart bool   `help:"Send from the first line, though an earlier run has come further. What is decided stays decided."`
}

// Help is shown by --help.
func (ingestSend) Help() string {
	return `A line is one command:

  {"aggregate":"order","id":"o-1","command":"PlaceOrder","data":{…}}

with "command_id" to give it an id of its own. Lines without one get an id derived from the file's
name and the line's number: sending a file twice decides nothing twice. How far a file is sent is kept
beside it in FILE.progress, so that an interrupted run goes on where it stopped.`
}

// line is one line of the file.
type line struct {
	Aggregate string          `json:"aggregate"`
	ID        string          `json:"id"`
	Command   string          `json:"command"`
	CommandID string          `json:"command_id"`
	Data      json.RawMessage `json:"data"`
}

const maxLine = 2 << 20

// Run sends.
func (v ingestSend) Run(ctx context.Context, app App, p Process) error {
	conn := v.connection(p)
	l, err := connect(ctx, app, conn, app.senderAccess(conn.Prefix))
	if err != nil {
		return startError(err)
	}
	defer l.close()
	if err := l.preload(ctx); err != nil {
		return startError(err)
	}
	sender, err := l.sender(ctx)
	if err != nil {
		return startError(l.brokersError(err))
	}
	defer sender.Close()

	in, size := p.Stdin, int64(-1)
	name := v.Name
	var done *progress
	if v.File != "-" {
		file, err := os.Open(v.File)
		if err != nil {
			return misuse{err}
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil {
			size = info.Size()
		}
		in = file
		if name == "" {
			name = filepath.Base(v.File)
		}
		if done, err = openProgress(v.File, v.Restart); err != nil {
			return err
		}
		if done.Line > 0 {
			fmt.Fprintf(p.Stderr, "going on after line %d of %s (--restart sends it from the start)\n", done.Line, v.File)
		}
	} else if name == "" {
		return misuse{errors.New("standard input has no name to derive command ids from: set --name")}
	}
	if done == nil {
		done = &progress{}
	}
	bar := v.bar(p, size)
	s := &sending{link: l, name: name, from: *done, bar: bar}
	refusals := 0
	sent, err := SendAll(ctx, sender, s.requests(in), func(_ Sent, q processing.Request, o processing.Outcome) {
		done.advance(s.ends[0])
		s.ends = s.ends[1:]
		if o.Status != processing.Accepted {
			if refusals++; refusals <= 20 {
				fmt.Fprintf(p.Stderr, "line %d: %s %s: %s %s %s\n", done.Line, q.Type.Name, q.AggregateID, o.Status, o.Code, o.Detail)
			}
		}
	})
	_ = bar.Finish()
	if saveErr := done.save(); saveErr != nil {
		err = errors.Join(err, saveErr)
	}
	if printErr := v.print(p, sent, fmt.Sprintf("%d commands decided: %d accepted, %d refused, %d failed; %d of them had been decided before", sent.Commands, sent.Accepted, sent.Refused, sent.Failed, sent.Repeated)); printErr != nil {
		return printErr
	}
	if err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(p.Stderr, "interrupted; run it again to go on")
			return errCheckFailed
		}
		return err
	}
	if sent.Failed > 0 {
		return errCheckFailed
	}
	return nil
}

func (v ingestSend) bar(p Process, size int64) *progressbar.ProgressBar {
	out := io.Discard
	if f, ok := p.Stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		out = f
	}
	// Without an interval, for which the library has a goroutine that races with Add.
	return progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(true), progressbar.OptionSetDescription("sending"),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetSpinnerChangeInterval(0))
}

// lineEnd is where a line ends, and the hash of everything up to there.
type lineEnd struct {
	line int64
	hash string
}

// sending turns lines into requests.
type sending struct {
	link *link
	name string
	from progress
	bar  *progressbar.ProgressBar
	// ends are those of the lines sent and not yet decided, in order.
	ends []lineEnd
}

// requests reads commands from lines, passing over those that were decided in an earlier run.
func (s *sending) requests(in io.Reader) iter.Seq2[processing.Request, error] {
	return func(yield func(processing.Request, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		hash := sha256.New()
		n := int64(0)
		for lines.Scan() {
			n++
			_, _ = hash.Write(append(bytes.Clone(lines.Bytes()), '\n')) // never fails
			_ = s.bar.Add(len(lines.Bytes()) + 1)
			end := lineEnd{line: n, hash: hex.EncodeToString(hash.Sum(nil))}
			if n <= s.from.Line {
				if n == s.from.Line && end.hash != s.from.SHA256 {
					yield(processing.Request{}, fmt.Errorf("the first %d lines are not those that were sent: the file has changed; use another --name with --restart", n))
					return
				}
				continue
			}
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			q, err := s.request(n, lines.Bytes())
			if err != nil {
				yield(q, fmt.Errorf("line %d: %w", n, err))
				return
			}
			s.ends = append(s.ends, end)
			if !yield(q, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(processing.Request{}, fmt.Errorf("reading line %d: %w", n+1, err))
		} else if n < s.from.Line {
			yield(processing.Request{}, fmt.Errorf("the file has %d lines, and %d were sent before: it has changed; use another --name with --restart", n, s.from.Line))
		}
	}
}

func (s *sending) request(n int64, text []byte) (processing.Request, error) {
	var l line
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return processing.Request{}, err
	}
	a, ok := s.link.app.Aggregate(l.Aggregate)
	if !ok {
		return processing.Request{}, fmt.Errorf("no aggregate %q", l.Aggregate)
	}
	if err := processing.ValidateID("id", l.ID); err != nil {
		return processing.Request{}, err
	}
	var t processing.Type
	for _, c := range a.Commands {
		if c.Name == l.Command || processing.KebabCase(c.Name) == l.Command {
			t, ok = c, true
			break
		}
		ok = false
	}
	if !ok {
		return processing.Request{}, fmt.Errorf("%s has no command %q", a.Name, l.Command)
	}
	data, err := s.link.decodeJSON(a, t, l.Data)
	if err != nil {
		return processing.Request{}, err
	}
	if v, ok := data.(processing.Validator); ok {
		if err := v.Validate(); err != nil {
			return processing.Request{}, err
		}
	}
	key := l.CommandID
	if key == "" {
		key = fmt.Sprintf("%s:%d", s.name, n)
	}
	id, err := processing.CommandID(key)
	if err != nil {
		return processing.Request{}, fmt.Errorf("command_id: %w", err)
	}
	return processing.Request{Aggregate: a, AggregateID: l.ID, Type: t, Data: data, ID: id}, nil
}

// progress is how far a file is sent. The zero progress keeps nothing.
type progress struct {
	path string
	// Line is the last line of which, and of all before, the outcome is known; SHA256 is of the file
	// up to its end.
	Line   int64  `json:"line"`
	SHA256 string `json:"sha256"`
	saved  int64
}

// saveEvery is after how many lines progress is saved.
const saveEvery = 1000

func openProgress(file string, restart bool) (*progress, error) {
	p := &progress{path: file + ".progress"}
	if restart {
		return p, nil
	}
	text, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return nil, misuse{fmt.Errorf("reading %s: %w; --restart ignores it", p.path, err)}
	}
	return p, nil
}

func (p *progress) advance(to lineEnd) {
	p.Line, p.SHA256 = to.line, to.hash
	if p.Line-p.saved >= saveEvery {
		_ = p.save() // tried again soon, and at the end with its error
	}
}

func (p *progress) save() error {
	if p.path == "" || p.Line == p.saved {
		return nil
	}
	text, err := json.Marshal(p)
	if err == nil {
		err = replaceFile(p.path, text)
	}
	if err != nil {
		return fmt.Errorf("saving %s: %w", p.path, err)
	}
	p.saved = p.Line
	return nil
}

// replaceFile gives a file a new content at once. Two processes that send one file may do so side by side.
func replaceFile(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // it is of no use
	}
	return err
}
