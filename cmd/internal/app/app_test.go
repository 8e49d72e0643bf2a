package app_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/cmd/internal/app"
)

var update = flag.Bool("update", false, "write the golden file")

// TestOpenAPI shows every change of the API's description as a change of a file.
func TestOpenAPI(t *testing.T) {
	const golden = "testdata/openapi.json"
	got, err := app.App.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the API's description is no longer %s; if that is meant: go test ./cmd/internal/app -update", golden)
	}
}

// TestCorpus: what was ever released is read, by the words that a CI types.
func TestCorpus(t *testing.T) {
	var out, problems bytes.Buffer
	args := []string{"check", "--corpus", "../../../schemas/testdata/corpus"}
	code := ledgerline.RunProvision(t.Context(), app.App, ledgerline.Process{Args: args, Stdout: &out, Stderr: &problems})
	if code != ledgerline.ExitOK || !strings.HasSuffix(out.String(), " records: 0 differences\n") || strings.HasPrefix(out.String(), "0 ") {
		t.Errorf("exit %d: %s%s", code, out.String(), problems.String())
	}
	if code := ledgerline.RunProvision(t.Context(), app.App, ledgerline.Process{Args: append(args[:2:2], t.TempDir()), Stdout: &out, Stderr: &problems}); code != ledgerline.ExitFailed {
		t.Errorf("an empty corpus: exit %d: %s%s", code, out.String(), problems.String())
	}
}
