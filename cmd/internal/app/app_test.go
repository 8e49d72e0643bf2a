package app_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

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
