package ledgerline

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/kafka"
)

type rebuildDeadLetters struct {
	List    lettersList    `cmd:"" help:"List the dead letters of commands, and the aggregates that read models have parked."`
	Show    lettersShow    `cmd:"" help:"Show all of one: headers, cause and value; the events that wait."`
	Redrive lettersRedrive `cmd:"" help:"Send commands again, under new ids; apply the events of parked aggregates; exit 1 if one fails again."`
}

// letterLine is a dead letter as -o json prints it.
type letterLine struct {
	ID           string    `json:"id"`
	AggregateID  string    `json:"aggregate_id"`
	Time         time.Time `json:"time"`
	Cause        string    `json:"cause"`
	Detail       string    `json:"detail"`
	Type         string    `json:"type,omitempty"`
	CommandID    string    `json:"command_id,omitempty"`
	Position     string    `json:"position"`
	BytesLeftOut int       `json:"bytes_left_out,omitempty"`
}

func lineOf(l kafka.Letter) letterLine {
	return letterLine{
		ID: letterID{aggregate: l.Aggregate, partition: l.Partition, offset: l.Offset}.String(), AggregateID: string(l.Key), Time: l.At,
		Cause: l.Cause, Detail: l.Detail, Type: l.Type(), CommandID: l.CommandID(), Position: l.Position, BytesLeftOut: l.LeftOut,
	}
}

// shownHeader is a header as -o json prints it.
type shownHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// letterShown is all of a dead letter: its value as JSON, or else in hex.
type letterShown struct {
	letterLine
	Headers []shownHeader   `json:"headers"`
	Value   json.RawMessage `json:"value,omitempty"`
	Hex     string          `json:"hex,omitempty"`
}

// redriven is what became of a dead letter.
type redriven struct {
	ID string `json:"id"`
	// Type is what it would be decided as, in a dry run.
	Type string `json:"type,omitempty"`
	// CommandID is the new one; with it, Status is "" if no outcome came in time.
	CommandID string            `json:"command_id,omitempty"`
	Status    processing.Status `json:"status,omitempty"`
	Code      string            `json:"code,omitempty"`
	Detail    string            `json:"detail,omitempty"`
	// DeadLetter says that it is a dead letter again, or would be.
	DeadLetter bool `json:"dead_letter"`
}

// printable returns text as it is if a terminal shows it so, else quoted: it came from who knows whom.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// letters connects to what dead letters and parked events are read from.
func (f connectFlags) letters(ctx context.Context, app App, p Process, redrive bool) (*Rebuild, error) {
	conn := f.connection(p)
	r, err := newRebuild(ctx, app, conn, app.lettersAccess(conn.Prefix, redrive))
	return r, startError(err)
}

// letter reads what an id names.
func (l *link) letter(ctx context.Context, log *kafka.Log, id letterID) (kafka.Letter, error) {
	if _, ok := l.app.Aggregate(id.aggregate); !ok {
		return kafka.Letter{}, misuse{fmt.Errorf("no aggregate %q", id.aggregate)}
	}
	letter, err := log.DeadLetter(ctx, id.aggregate, id.partition, id.offset)
	if errors.Is(err, kafka.ErrNoLetter) {
		err = misuse{err}
	}
	return letter, err
}

type lettersList struct {
	connectFlags
	outputFlag
	Aggregate string `placeholder:"NAME" help:"List only those of this aggregate, as order."`
}

// Run lists, oldest first within an aggregate.
func (v lettersList) Run(ctx context.Context, app App, p Process) error {
	names := app.aggregates()
	if v.Aggregate != "" {
		if _, ok := app.Aggregate(v.Aggregate); !ok {
			return misuse{fmt.Errorf("no aggregate %q", v.Aggregate)}
		}
		names = []string{v.Aggregate}
	}
	r, err := v.letters(ctx, app, p, false)
	if err != nil {
		return err
	}
	defer r.Close()
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	if v.Output == "table" {
		fmt.Fprintln(w, "ID\tAGGREGATE ID\tTIME\tCAUSE\tTYPE\tPOSITION")
	}
	for _, name := range names {
		err := r.log.DeadLetters(ctx, name, func(one kafka.Letter) error {
			x := lineOf(one)
			if v.Output == "json" {
				return json.NewEncoder(p.Stdout).Encode(x)
			}
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, printable(x.AggregateID), when(x.Time), x.Cause, printable(x.Type), x.Position)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	lines, err := r.parked(ctx, v.Aggregate)
	if err != nil {
		return err
	}
	return v.printParked(p, lines)
}

type lettersShow struct {
	connectFlags
	outputFlag
	ID letterID `arg:"" name:"id" help:"Id as list prints it, such as order.dead-letters/0@17 or order-status:order/o-1."`
}

// Run shows one.
func (v lettersShow) Run(ctx context.Context, app App, p Process) error {
	r, err := v.letters(ctx, app, p, false)
	if err != nil {
		return err
	}
	defer r.Close()
	if v.ID.model != "" {
		return v.showParked(ctx, p, r)
	}
	letter, err := r.link.letter(ctx, r.log, v.ID)
	if err != nil {
		return err
	}
	x := letterShown{letterLine: lineOf(letter), Headers: []shownHeader{}}
	for _, h := range letter.Headers {
		x.Headers = append(x.Headers, shownHeader{h.Key, string(h.Value)})
	}
	value, ok := r.log.LetterJSON(ctx, letter)
	if ok {
		x.Value = value
	} else {
		x.Hex = hex.EncodeToString(letter.Value)
	}
	if v.Output == "json" {
		return json.NewEncoder(p.Stdout).Encode(x)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\naggregate id\t%s\ntime\t%s\ncause\t%s\ndetail\t%s\nposition\t%s\n", x.ID, printable(x.AggregateID), when(x.Time), x.Cause, printable(x.Detail), x.Position)
	for _, h := range x.Headers {
		fmt.Fprintf(w, "header %s\t%s\n", printable(h.Name), printable(h.Value))
	}
	switch {
	case x.BytesLeftOut > 0:
		fmt.Fprintf(w, "value\t%d bytes, left out: too large\n", x.BytesLeftOut)
	case ok:
		fmt.Fprintf(w, "value\t%s\n", printable(string(value)))
	default:
		fmt.Fprintf(w, "value in hex\t%s\n", x.Hex)
	}
	return w.Flush()
}

type lettersRedrive struct {
	connectFlags
	outputFlag
	IDs    []letterID `arg:"" name:"id" help:"Ids as list prints them; parked aggregates first, then commands in this order, each after the outcome of the one before."`
	DryRun bool       `help:"Say what would become of them now, and change nothing; exit 1 if one would fail again."`
	Yes    bool       `help:"Change without asking."`
}

// Help is shown by --help.
func (lettersRedrive) Help() string {
	return `What is parked of an aggregate is applied in order, in every ready generation of this binary's code version, as
far as this binary can apply it; processors go on meanwhile. The command of a dead letter is sent again as it came, but under a new id; ce_causationid has the old one. It is not
sent if it is decided under the old one, since its sender has sent it again. But nobody checks whether this verb
has sent it before: it would be decided a second time. The dead letter stays where it is.`
}

// Run sends them, all or none being there.
func (v lettersRedrive) Run(ctx context.Context, app App, p Process) error {
	r, err := v.letters(ctx, app, p, !v.DryRun)
	if err != nil {
		return err
	}
	defer r.Close()
	l, log := r.link, r.log
	var list []kafka.Letter
	var parked []letterID
	for _, id := range v.IDs {
		if id.model != "" {
			if _, err := r.parkedAs(ctx, id); err != nil {
				return err
			}
			parked = append(parked, id)
			continue
		}
		letter, err := l.letter(ctx, log, id)
		if err == nil && letter.LeftOut > 0 {
			err = misuse{fmt.Errorf("%s: %w", id, kafka.ErrLeftOut)}
		}
		if err != nil {
			return err
		}
		list = append(list, letter)
	}
	still := v.redriveParked(ctx, p, r, parked)
	if still != nil && !errors.Is(still, errCheckFailed) || len(list) == 0 {
		return still
	}
	if v.DryRun {
		return cmp.Or(v.each(p, list, func(letter kafka.Letter) (redriven, string, error) { return l.wouldRedrive(ctx, log, letter) }), still)
	}
	if !v.Yes && !confirm(p, fmt.Sprintf("send these %d commands again? One that a redrive has sent before is decided a second time", len(list))) {
		return misuse{errors.New("nothing is sent; --yes sends without asking")}
	}
	sender, err := l.sender(ctx)
	if err != nil {
		return startError(l.brokersError(err))
	}
	defer sender.Close()
	return cmp.Or(v.each(p, list, func(letter kafka.Letter) (redriven, string, error) { return redrive(ctx, sender, letter) }), still)
}

// each does with letters what do does, and prints what became of them. It stops at one whose outcome is not
// known, since those after it are to be decided after it, and returns errCheckFailed if one is not decided.
func (v lettersRedrive) each(p Process, list []kafka.Letter, do func(kafka.Letter) (redriven, string, error)) error {
	var failed error
	for i, letter := range list {
		done, line, err := do(letter)
		if err != nil {
			return fmt.Errorf("redriving %s: %w", lineOf(letter).ID, err)
		}
		if err := v.print(p, done, line); err != nil {
			return err
		}
		if done.Code != "" && done.Status != processing.Refused {
			failed = errCheckFailed
		}
		if done.CommandID != "" && done.Status == "" {
			if left := len(list) - i - 1; left > 0 {
				fmt.Fprintf(p.Stderr, "the last %d are not sent\n", left)
			}
			return errCheckFailed
		}
	}
	return failed
}

// wouldRedrive says how a letter would be decoded now.
func (l *link) wouldRedrive(ctx context.Context, log *kafka.Log, letter kafka.Letter) (redriven, string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	a, _ := l.app.Aggregate(letter.Aggregate)
	name, fault, err := log.Decodes(ctx, a, letter)
	done := redriven{ID: lineOf(letter).ID, Type: name}
	if err != nil || fault == nil {
		return done, fmt.Sprintf("%s would be decided: %s", done.ID, name), err
	}
	done.Type, done.Code, done.Detail, done.DeadLetter = "", fault.Code, fault.Detail, fault.DeadLetter
	return done, fmt.Sprintf("%s would fail again: %s: %s", done.ID, done.Code, printable(done.Detail)), nil
}

// redrive sends a letter again and waits for its outcome.
func redrive(ctx context.Context, sender *kafka.Sender, letter kafka.Letter) (redriven, string, error) {
	done := redriven{ID: lineOf(letter).ID}
	switch o, err := sender.DecidedSince(ctx, letter); {
	case err == nil:
		done.Code, done.Detail = "already-decided", fmt.Sprintf("its sender has sent it again under its id %s, and it was %s", letter.CommandID(), o.Status)
		return done, fmt.Sprintf("%s is not sent: %s", done.ID, done.Detail), nil
	case !errors.Is(err, processing.ErrUndecided):
		return done, "", err
	}
	id, wait, err := sender.SendAgain(ctx, letter)
	if err != nil {
		return done, "", err
	}
	done.CommandID = id
	wctx, cancel := context.WithTimeout(ctx, sendRetry)
	defer cancel()
	o, err := wait(wctx)
	sent := fmt.Sprintf("%s is sent again as %s", done.ID, id)
	if err != nil {
		done.Detail = err.Error()
		return done, fmt.Sprintf("%s: %v: it may still be decided; look for its outcome before you send it once more", sent, err), nil
	}
	done.Status, done.Code, done.Detail, done.DeadLetter = o.Status, o.Code, o.Detail, kafka.BecameLetter(o)
	line := fmt.Sprintf("%s: %s", sent, o.Status)
	switch {
	case o.Status == processing.Accepted:
		line += fmt.Sprintf(", version %d", o.Version)
	case done.DeadLetter:
		line += fmt.Sprintf(" %s: %s; it is a dead letter again", o.Code, printable(o.Detail))
	default:
		line += fmt.Sprintf(" %s: %s", o.Code, printable(o.Detail))
	}
	return done, line, nil
}
