package app_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/examples/loyalty/app"
	"github.com/ledgerline/ledgerline/local"
)

// start runs the App for the test, on an embedded broker, registry and Redis.
func start(t *testing.T) *local.Local {
	t.Helper()
	l, err := local.Start(t.Context(), local.Config{App: app.App})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l
}

// answer is what the API answered.
type answer struct {
	status         int
	position, body string
}

// request asks the API; headers come as name, value, name, value.
func request(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("Ledgerline-Position"), strings.TrimSpace(string(text))}
}

// binary is one of Run… of package ledgerline.
type binary = func(context.Context, ledgerline.App, ledgerline.Process) int

// run runs a binary and returns its exit code and all that it printed.
func run(ctx context.Context, b binary, args ...string) (code int, printed string) {
	var stdout, stderr strings.Builder
	code = b(ctx, app.App, ledgerline.Process{Args: args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr})
	return code, stdout.String() + stderr.String()
}
