// Command quickstart runs all of Ledgerline in one process, on embedded services and real orders:
// commands, events, read models and a verified rebuild, with nothing installed but Go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/cmd/internal/app"
	"github.com/ledgerline/ledgerline/local"
	"github.com/ledgerline/ledgerline/processing"
	"github.com/ledgerline/ledgerline/processing/embedded"
)

type flags struct {
	Once     bool   `help:"End after the table."`
	JSON     bool   `name:"json" help:"Put one JSON object on stdout as the last line; all else goes to stderr."`
	Data     string `type:"existingfile" placeholder:"FILE" help:"Import another file of the same columns (default: the orders in examples/, built in)."`
	DataDir  string `placeholder:"DIR" help:"Keep topics and schemas there for the next run (default: keep nothing)."`
	HTTPAddr string `name:"http-addr" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where the API is served; the next free port if it is taken (default ${default})."`
	Verbose  bool   `short:"v" help:"Log what the parts do."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var f flags
	kong.Parse(&f, kong.Description("All of Ledgerline in one process, on real orders."))
	err := f.run(ctx, os.Stdout, os.Stderr)
	if err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		fmt.Fprintf(os.Stderr, "quickstart: %v\n", err)
		os.Exit(1)
	}
}

// Summary is the last line of --json. Counts and sums are read back from Redis.
type Summary struct {
	Commands               int64   `json:"commands"`
	Accepted               int64   `json:"accepted"`
	Orders                 int64   `json:"orders"`
	Customers              int64   `json:"customers"`
	TotalSpentMinor        int64   `json:"total_spent_minor"`
	CapturedMinor          int64   `json:"captured_minor"`
	Refunds                int64   `json:"refunds"`
	RefundedMinor          int64   `json:"refunded_minor"`
	RebuildVerified        bool    `json:"rebuild_verified"`
	CommandsPerSecond      float64 `json:"commands_per_second"`
	EventsPerSecond        float64 `json:"events_per_second"`
	RebuildEventsPerSecond float64 `json:"rebuild_events_per_second"`
}

func (f flags) run(ctx context.Context, stdout, stderr io.Writer) error {
	out := stdout // for people
	if f.JSON {
		out = stderr
	}
	log := slog.New(slog.DiscardHandler)
	if f.Verbose {
		log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	commands, err := loadCommands(f.Data)
	if err != nil {
		return err
	}
	listener, err := listen(f.HTTPAddr)
	if err != nil {
		return err
	}
	l, err := local.Start(ctx, local.Config{
		App: app.App, Listener: listener, Log: log,
		Services: embedded.Config{KafkaPort: 9092, RegistryPort: 8081, RedisPort: 6379, DataDir: f.DataDir},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "embedded services:   %s\n", l.Flags())
	fmt.Fprintf(out, "API:                 %s\n\n", l.URL)
	err = f.tour(ctx, l, commands, out, stdout, stderr)
	if err == nil && !f.Once {
		stopped := make(chan error, 1)
		go func() { stopped <- l.Wait() }()
		select {
		case <-ctx.Done():
			fmt.Fprintln(out, "\nstopping")
		case err = <-stopped:
		}
	}
	return errors.Join(err, l.Close())
}

// tour imports, shows, rebuilds and says what to try.
func (f flags) tour(ctx context.Context, l *local.Local, commands []command, out, stdout, stderr io.Writer) error {
	began := time.Now()
	var summary Summary
	bar := newMeter(stderr, "commands decided")
	sent, err := ledgerline.SendAll(ctx, l.Sender(), requests(commands), func(s ledgerline.Sent, _ processing.Request, _ processing.Outcome) {
		bar.set(s.Commands, int64(len(commands)))
	})
	bar.finish()
	if err != nil {
		return err
	}
	summary.Commands, summary.Accepted = sent.Commands, sent.Accepted
	summary.CommandsPerSecond = rate(sent.Commands, time.Since(began))
	if sent.Refused+sent.Failed > 0 {
		fmt.Fprintf(out, "%d commands were refused and %d failed\n", sent.Refused, sent.Failed)
	}

	r, err := ledgerline.NewRebuild(ctx, app.App, l.Connection)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := awaitCaughtUp(ctx, r); err != nil {
		return err
	}
	summary.EventsPerSecond = rate(sent.Accepted, time.Since(began))
	report, err := readBack(ctx, l.URL, r)
	if err != nil {
		return err
	}
	summary.Orders, summary.Customers, summary.TotalSpentMinor = report.orders, report.customers, report.total
	summary.CapturedMinor, summary.Refunds, summary.RefundedMinor = report.captured, report.refunds, report.refunded
	if err := rebuild(ctx, r, &summary, out, stderr); err != nil {
		return err
	}
	report.print(out, summary)
	if f.JSON {
		if err := json.NewEncoder(stdout).Encode(summary); err != nil {
			return err
		}
	}
	if !f.Once {
		f.suggest(ctx, l, report, out)
	}
	return nil
}

// rebuild makes customer-orders anew from the log, compares it with the log and switches to it.
func rebuild(ctx context.Context, r *ledgerline.Rebuild, summary *Summary, out, stderr io.Writer) error {
	const model = "customer-orders"
	bar := newMeter(stderr, "log replayed")
	var last processing.Progress
	g, err := r.Run(ctx, model, func(p processing.Progress) {
		last = p
		bar.set(p.Done, p.Total)
	})
	bar.finish()
	if err != nil {
		return err
	}
	summary.RebuildEventsPerSecond = math.Floor(last.Rate)
	found, err := r.Verify(ctx, model, g.ID, nil)
	if err != nil {
		return err
	}
	summary.RebuildVerified = found.OK()
	if !found.OK() {
		for _, d := range found.Differences {
			fmt.Fprintln(out, d)
		}
		return fmt.Errorf("the rebuilt %s differs from the log in %d keys", model, found.Count)
	}
	if _, err := r.Promote(ctx, model, g.ID); err != nil {
		return err
	}
	fmt.Fprintf(out, "rebuilt %s as generation %s: %d events folded again, %d keys compared, no difference, now active\n\n", model, g.ID, found.Events, found.Keys)
	return nil
}

// awaitCaughtUp waits until the active generations of read models hold everything that is in the log. Those
// of snapshots never need to: they lack what has happened since.
func awaitCaughtUp(ctx context.Context, r *ledgerline.Rebuild) error {
	var models []string
	for _, m := range app.App.ReadModels {
		models = append(models, m.Name)
	}
	for {
		list, err := r.Status(ctx, models...)
		if err != nil {
			return err
		}
		behind := int64(0)
		for _, g := range list {
			if g.Active {
				behind = max(behind, g.Behind)
			}
		}
		if behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func rate(n int64, spent time.Duration) float64 {
	return math.Floor(float64(n) / spent.Seconds())
}

// meter shows how far something is: a bar on a terminal, else a line a second.
type meter struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar
	said time.Time
}

func newMeter(w io.Writer, what string) *meter {
	m := &meter{w: w, what: what}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		// Without an interval, for which the library has a goroutine that races with Add.
		m.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionClearOnFinish(), progressbar.OptionSetSpinnerChangeInterval(0))
	}
	return m
}

func (m *meter) set(n, total int64) {
	if m.bar != nil {
		m.bar.ChangeMax64(total)
		_ = m.bar.Set64(n)
		return
	}
	if time.Since(m.said) > time.Second || n == total {
		m.said = time.Now()
		fmt.Fprintf(m.w, "%s: %d of %d\n", m.what, n, total)
	}
}

func (m *meter) finish() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
