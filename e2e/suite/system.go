package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

// System is a Ledgerline under test.
type System interface {
	// Commands and Queries are the base URLs of ingest's and processor's API. Ingest answers queries, too.
	Commands() string
	Queries() string
	// Prefix is what the names of its topics begin with.
	Prefix() string
	// Run runs a verb of a binary to its end. The error is for what could not be run.
	Run(ctx context.Context, stdin []byte, binary string, args ...string) (Ended, error)
	// Do restarts or kills a binary that serves. A restart has it end in good order, or starts one that
	// was killed, and returns once it is ready.
	Do(ctx context.Context, a stack.Action, binary string) error
}

// The binaries; the first two serve.
const (
	Ingest    = "ingest"
	Processor = "processor"
	provision = "provision"
)

// Ended is what a process left.
type Ended struct {
	Code           int
	Stdout, Stderr string
}

const module = "github.com/ledgerline/ledgerline"

// startSystem starts the binaries of this checkout on the services of s, in topics of their own, or returns
// those that LEDGERLINE_E2E_COMMANDS_URL and LEDGERLINE_E2E_QUERIES_URL name.
func startSystem(t *testing.T, s *stack.Stack, run string) System {
	t.Helper()
	commands, queries := os.Getenv("LEDGERLINE_E2E_COMMANDS_URL"), os.Getenv("LEDGERLINE_E2E_QUERIES_URL")
	if commands != "" && queries != "" {
		return elsewhere{commands: commands, queries: queries, control: os.Getenv(stack.ControlVariable)}
	}
	p := &processes{dir: t.TempDir(), stack: s, prefix: "e2e-" + run + ".", serving: map[string]*serving{}}
	p.build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	// Few partitions: the cluster is small, and may have been used before.
	e, err := p.Run(ctx, nil, provision, "apply", "--partitions", "4")
	if err != nil || e.Code != 0 {
		t.Fatalf("provision apply: %v, exit %d: %s%s", err, e.Code, e.Stdout, e.Stderr)
	}
	ports, release, err := stack.ReservePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	for i, binary := range []string{Ingest, Processor} {
		v := &serving{http: local(ports[2*i]), admin: local(ports[2*i+1]), output: filepath.Join(p.dir, binary+".log")}
		p.serving[binary] = v
		t.Cleanup(func() {
			if err := v.end(); err != nil {
				t.Errorf("%s: %v", binary, err)
			}
			if t.Failed() {
				text, _ := os.ReadFile(v.output)
				t.Logf("%s wrote\n%s", binary, text[max(0, len(text)-8000):])
			}
		})
		if err := p.start(ctx, binary); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// processes runs the binaries of this checkout.
type processes struct {
	dir     string
	stack   *stack.Stack
	prefix  string
	serving map[string]*serving
}

// serving is a binary that serves, over its restarts.
type serving struct {
	http, admin, output string

	cmd   *exec.Cmd
	ended chan error
}

// build builds the binaries by the libraries of their own module, whichever the tests belong to.
func (p *processes) build(t *testing.T) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("looking for the module: %v", err)
	}
	args := []string{"build", "-o", p.dir}
	for _, binary := range []string{Ingest, Processor, "rebuild", provision} {
		args = append(args, "./cmd/"+binary)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the binaries: %v\n%s", err, out)
	}
}

func (p *processes) Commands() string { return "http://" + p.serving[Ingest].http }

func (p *processes) Queries() string { return "http://" + p.serving[Processor].http }

func (p *processes) Prefix() string { return p.prefix }

// connect returns the flags that reach the services as the binary's user.
func (p *processes) connect(binary string) []string {
	flags := []string{
		"--brokers", strings.Join(p.stack.Brokers, ","), "--registry-url", p.stack.RegistryURL,
		"--redis-url", p.stack.RedisURL, "--prefix", p.prefix,
	}
	s := p.stack.Security
	if s == nil {
		return flags
	}
	const everyone = "ledgerline"
	user, reader := binary, everyone
	if binary == provision {
		user, reader = stack.Admin, stack.Admin
		flags = append(flags, "--ingest-user", Ingest, "--processor-user", Processor, "--rebuild-user", "rebuild")
	}
	return append(flags, "--ca-file", s.CAFile, "--kafka-tls", "--kafka-user", user, "--kafka-password-file", s.KafkaUsers[user],
		"--registry-user", reader, "--registry-password-file", s.RegistryUsers[reader],
		"--redis-user", everyone, "--redis-password-file", s.RedisUsers[everyone])
}

func (p *processes) Run(ctx context.Context, stdin []byte, binary string, args ...string) (Ended, error) {
	var stdout, stderr bytes.Buffer
	// Flags in args come last: they win.
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, binary), slices.Insert(args, 1, p.connect(binary)...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	return ended(cmd.Run(), &stdout, &stderr)
}

func ended(err error, stdout, stderr *bytes.Buffer) (Ended, error) {
	e := Ended{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		e.Code = exit.ExitCode()
		return e, nil
	}
	return e, err
}

func (p *processes) start(ctx context.Context, binary string) error {
	v := p.serving[binary]
	output, err := os.OpenFile(v.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", binary, err)
	}
	defer output.Close() // the process has its own
	args := append([]string{"serve", "--http-addr", v.http, "--admin-addr", v.admin}, p.connect(binary)...)
	if binary == Ingest {
		args = append(args, "--instance", "e2e", "--queries")
	}
	cmd := exec.Command(filepath.Join(p.dir, binary), args...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", binary, err)
	}
	v.cmd, v.ended = cmd, make(chan error, 1)
	go func() { v.ended <- cmd.Wait() }()
	return awaitErr(ctx, binary+" ready", func() error {
		select {
		case err := <-v.ended:
			v.ended <- err
			return fmt.Errorf("it has ended: %w; see %s", err, v.output)
		default:
		}
		return ready(ctx, "http://"+v.admin)
	})
}

// ready asks an admin address.
func ready(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		return err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

func (p *processes) Do(ctx context.Context, a stack.Action, binary string) error {
	v := p.serving[binary]
	switch a {
	case stack.Kill:
		if err := v.cmd.Process.Kill(); err != nil {
			return err
		}
		err := <-v.ended
		v.ended <- nil // as it should be
		if err == nil {
			return fmt.Errorf("%s ended before it was killed", binary)
		}
		return nil
	case stack.Restart:
		if err := v.end(); err != nil {
			return fmt.Errorf("ending %s: %w", binary, err)
		}
		return p.start(ctx, binary)
	case stack.Stop, stack.Continue:
	}
	return fmt.Errorf("%s of %s: %w", a, binary, errors.ErrUnsupported)
}

// end has the process end in good order, if it runs. It may be called again.
func (v *serving) end() error {
	if v.cmd == nil {
		return nil
	}
	_ = v.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-v.ended:
		v.ended <- nil
		return err
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("it did not end in %s", patience), v.cmd.Process.Kill())
	}
}

// elsewhere is a Ledgerline that somebody else has started, and a program that can do things to it.
type elsewhere struct{ commands, queries, control string }

func (e elsewhere) Commands() string { return e.commands }

func (e elsewhere) Queries() string { return e.queries }

func (e elsewhere) Prefix() string { return os.Getenv("LEDGERLINE_PREFIX") }

func (e elsewhere) Run(ctx context.Context, stdin []byte, binary string, args ...string) (Ended, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, e.control, append([]string{"run", binary}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	return ended(cmd.Run(), &stdout, &stderr)
}

func (e elsewhere) Do(ctx context.Context, a stack.Action, binary string) error {
	return stack.Program(e.control).Do(ctx, a, stack.Service(binary))
}
