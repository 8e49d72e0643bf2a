package ledgerline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Process is a process as its main sees it, so that a test can start one.
type Process struct {
	// Args are the arguments without the program's name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// The exit codes of every binary.
const (
	ExitOK     = 0
	ExitFailed = 1 // a check failed, or the work could not be done
	ExitMisuse = 2 // misused or misconfigured: the message says what to type
)

// Main runs one of this package's binaries for app and ends the process. An interrupt or a
// termination signal ends it in good order, a second one at once.
func Main(run func(ctx context.Context, app App, p Process) int, app App) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal has its usual effect
	os.Exit(run(ctx, app, Process{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}

// connectFlags are the flags of everything that connects.
type connectFlags struct {
	securityFlags
	Brokers     []string `env:"LEDGERLINE_BROKERS" default:"localhost:9092" placeholder:"HOST:PORT" help:"Kafka brokers, comma-separated (default ${default})."`
	RegistryURL string   `env:"LEDGERLINE_REGISTRY_URL" default:"http://localhost:8081" placeholder:"URL" help:"Schema registry (default ${default})."`
	RedisURL    string   `env:"LEDGERLINE_REDIS_URL" default:"redis://localhost:6379" placeholder:"URL" help:"Redis, rediss:// for TLS (default ${default})."`
	Prefix      string   `env:"LEDGERLINE_PREFIX" help:"Put before the names of topics, groups, transactional ids and keys."`
	LogFormat   string   `env:"LEDGERLINE_LOG_FORMAT" enum:"text,json" default:"text" help:"Form of log lines: text or json (default ${default})."`
	LogLevel    string   `env:"LEDGERLINE_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Least level that is logged: debug, info, warn or error (default ${default})."`
}

func (f connectFlags) connection(p Process) Connection {
	return Connection{
		Brokers: f.Brokers, RegistryURL: f.RegistryURL, RedisURL: f.RedisURL, Prefix: f.Prefix, Log: f.logger(p), Security: Security(f.securityFlags),
	}
}

func (f connectFlags) logger(p Process) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // an enum: it is one of the four
	options := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.Stderr, options))
}

// versionFlag is a flag of every binary.
type versionFlag struct {
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// listenFlags are the flags of everything that serves.
type listenFlags struct {
	HTTPAddr  string `name:"http-addr" env:"LEDGERLINE_HTTP_ADDR" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where the API is served (default ${default})."`
	AdminAddr string `name:"admin-addr" env:"LEDGERLINE_ADMIN_ADDR" default:"127.0.0.1:9091" placeholder:"HOST:PORT" help:"Where /livez, /readyz, /metrics and /debug/pprof are served (default ${default})."`
}

// outputFlag is the flag of everything that prints.
type outputFlag struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"Form of what is printed: table or json (default ${default})."`
}

// misuse marks an error that the user mends by typing something else.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// runCLI parses p.Args into cli and calls the Run method of the verb with ctx, app and p. What Run
// returns becomes one line on stderr and the exit code.
func runCLI(ctx context.Context, name, help string, cli any, app App, p Process) int {
	exit := -1
	parser, err := kong.New(cli, kong.Name(name), kong.Description(help), kong.UsageOnError(),
		kong.Writers(p.Stdout, p.Stderr), kong.Exit(func(code int) { exit = code }),
		kong.Vars{"version": version()}, kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(app, p))
	if err != nil {
		panic(err) // the flags are wrongly declared
	}
	parsed, err := parser.Parse(p.Args)
	if exit >= 0 { // --help or --version
		return exit
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v; see %s --help\n", name, err, name)
		return ExitMisuse
	}
	err = parsed.Run()
	switch {
	case err == nil, errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return ExitOK
	case errors.Is(err, errCheckFailed):
		return ExitFailed
	}
	fmt.Fprintf(p.Stderr, "%s: %s\n", name, oneLine(err))
	if _, ok := errors.AsType[misuse](err); ok {
		return ExitMisuse
	}
	return ExitFailed
}

// oneLine writes an error, which may hold what a server answered, in one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// errCheckFailed ends a verb whose finding is printed already with exit code 1.
var errCheckFailed = errors.New("a check failed")

// buildVersion is set by a build that knows better than the Go tool, from no checkout for instance:
// go build -ldflags "-X github.com/ledgerline/ledgerline.buildVersion=v1.2.3".
var buildVersion string

func version() string {
	module, revision := buildInfo()
	if revision == "unknown" {
		return module
	}
	return module + " " + revision
}

// startError marks what a start-up check found: the user mends it. The end of the process during its
// start is none.
func startError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return misuse{err}
}
