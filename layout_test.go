package ledgerline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goPackage is what `go list` tells of a package, tests left out.
type goPackage struct {
	ImportPath string
	Doc        string // the first sentence of the package comment
	GoFiles    []string
	Imports    []string
	Module     struct{ Path string }
}

// layer says which packages of this module those at a place in it may import. A pattern is a path below
// the module, "." its root; a last element * stands for every folder there.
type layer struct {
	at  string
	may []string
}

// layoutLayers is the layout: the arrows of DESIGN.md, from the bottom up. The first that fits a package counts.
var layoutLayers = []layer{
	{"schemas", nil},
	{"readstore", nil},
	{"readstore/memstore", []string{"readstore"}},
	{"readstore/redisstore", []string{"readstore"}},
	{"readstore/storetest", []string{"readstore"}},
	{"processing", []string{"readstore", "schemas"}},
	{"processing/domain/*", []string{"processing"}},
	{"processing/projection/*", []string{"processing", "processing/domain/*", "readstore"}},
	{"processing/processingtest", []string{"processing", "readstore"}},
	{"processing/kafka", []string{"processing", "readstore", "schemas"}},
	{"processing/httpapi", []string{"processing", "readstore"}},
	{"processing/embedded", []string{"schemas"}},
	{".", []string{"processing", "processing/kafka", "processing/httpapi", "readstore", "readstore/redisstore", "schemas"}},
	{"local", []string{".", "processing/embedded", "processing/kafka"}},
	{"examples", nil},
	{"cmd/internal/app", []string{".", "processing", "processing/domain/*", "processing/projection/*", "schemas"}},
	{"cmd/quickstart", []string{
		".", "cmd/internal/app", "examples", "local",
		"processing", "processing/domain/*", "processing/embedded", "processing/projection/*",
	}},
	{"cmd/*", []string{".", "cmd/internal/app"}},
	// For tests alone: nothing of the product imports them.
	{"e2e/native", nil},
	{"e2e/stack", []string{"e2e/native", "processing/embedded"}},
	{"e2e/suite", []string{"e2e/stack", "examples"}},
	{"examples/internal/guidetest", []string{".", "e2e/stack", "processing/embedded"}},
}

// purePlaces are the places where nothing but this module and the standard library may be imported.
var purePlaces = []string{"readstore", "processing/domain/*", "processing/projection/*"}

// reservedLibraries says who may import a library, and whatever lies below its path. The longest path that fits
// an import counts.
var reservedLibraries = []struct {
	library string
	may     []string
}{
	{"github.com/twmb/franz-go", []string{"processing/kafka", "e2e/stack", "e2e/suite"}},
	{"github.com/twmb/franz-go/pkg/kfake", []string{"processing/embedded"}},
	{"github.com/twmb/franz-go/pkg/sr/srfake", []string{"processing/embedded"}},
	{"github.com/alicebob/miniredis", []string{"processing/embedded"}},
	{"github.com/redis/go-redis", []string{"readstore/redisstore", "e2e/stack"}},
	{"github.com/danielgtaylor/huma", []string{"processing/httpapi"}},
	{"github.com/twmb/avro", []string{"schemas"}},
	{"github.com/prometheus/client_golang", []string{".", "processing", "processing/kafka", "processing/httpapi"}},
	// Libraries make spans with OpenTelemetry's API; where they go is the process's affair.
	{"go.opentelemetry.io/otel/sdk", []string{"."}},
	{"go.opentelemetry.io/otel/exporters", []string{"."}},
	{"github.com/hamba/avro", []string{"e2e/suite"}}, // for tests alone: see docs/adr/0001
}

// Every aggregate has the same files, so that whoever knows one knows all. Besides them stands the one
// that is called after the package.
var (
	domainFiles         = []string{"command.go", "decide.go", "event.go", "evolve.go"}
	domainFilesOptional = []string{"upcast.go"}
)

// TestLayout holds this module to its layout.
func TestLayout(t *testing.T) {
	packages := listPackages(t)
	for _, want := range []string{"processing", "processing/kafka", "readstore/redisstore", "processing/domain/order"} {
		if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.ImportPath == p.Module.Path+"/"+want }) {
			t.Errorf("go list names no package %s: this test looks at the wrong place", want)
		}
	}
	for _, v := range violations(packages) {
		t.Error(v)
	}
}

// listPackages asks the go tool, in the folder of this test, for all packages of the module.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	// A cached result is good as long as no file has changed that this process itself has looked at,
	// and the go tool is another process: so look at all.
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,GoFiles,Imports,Module", "./...")
	list.Stderr = os.Stderr
	output, err := list.Output()
	if err != nil {
		t.Fatalf("running %s: %v", list, err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading what go list says: %v", err)
		}
		packages = append(packages, p)
	}
}

// violations returns what is wrong with the layout of packages, a line each.
func violations(packages []goPackage) (wrong []string) {
	for _, p := range packages {
		at := placeOf(p.Module.Path, p.ImportPath)
		if p.Doc == "" && len(p.GoFiles) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s has no package comment: say what it owns and what it refuses", at))
		}
		i := slices.IndexFunc(layoutLayers, func(l layer) bool { return fitsPlace(l.at, at) })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("%s has no place in the layout: add it to layoutLayers, with what it may import", at))
			continue
		}
		for _, imported := range p.Imports {
			if why := forbids(layoutLayers[i], p.Module.Path, at, imported); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", at, imported, why))
			}
		}
		if fitsPlace("processing/domain/*", at) {
			wrong = append(wrong, wrongFiles(at, p.GoFiles)...)
		}
	}
	return wrong
}

// forbids returns why the package at a place may not import another, "" if it may.
func forbids(l layer, module, at, imported string) string {
	if imported == module || strings.HasPrefix(imported, module+"/") {
		if inside := placeOf(module, imported); !fitsAnyPlace(l.may, inside) {
			return fmt.Sprintf("of this module it may import %v", l.may)
		}
		return ""
	}
	if fitsAnyPlace(purePlaces, at) && !isStandard(imported) {
		return "it may import the standard library and this module only"
	}
	longest := ""
	var may []string
	for _, r := range reservedLibraries {
		if isBelow(r.library, imported) && len(r.library) > len(longest) {
			longest, may = r.library, r.may
		}
	}
	if longest != "" && !fitsAnyPlace(may, at) {
		return fmt.Sprintf("only %v may, beside tests", may)
	}
	return ""
}

// wrongFiles returns in what a domain's files differ from those of every other.
func wrongFiles(at string, files []string) (wrong []string) {
	required := append([]string{at[strings.LastIndexByte(at, '/')+1:] + ".go"}, domainFiles...)
	for _, f := range required {
		if !slices.Contains(files, f) {
			wrong = append(wrong, fmt.Sprintf("%s has no %s: every domain has the same files", at, f))
		}
	}
	for _, f := range files {
		if !slices.Contains(required, f) && !slices.Contains(domainFilesOptional, f) {
			wrong = append(wrong, fmt.Sprintf("%s has a file %s: every domain has the same files", at, f))
		}
	}
	return wrong
}

// placeOf returns a package's place in the module, "." for its root.
func placeOf(module, importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func fitsPlace(pattern, at string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, below := strings.CutPrefix(at, parent+"/")
		return below && !strings.Contains(rest, "/")
	}
	return pattern == at
}

func fitsAnyPlace(patterns []string, at string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return fitsPlace(p, at) })
}

// isBelow reports whether an import is the library or lies under it.
func isBelow(library, imported string) bool {
	return imported == library || strings.HasPrefix(imported, library+"/")
}

// isStandard reports whether an import is of the standard library: its first element has no dot.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

const (
	testModule   = "example.org/shop"
	kgoLibrary   = "github.com/twmb/franz-go/pkg/kgo"
	redisLibrary = "github.com/redis/go-redis/v9"
)

// fakePackage makes a package of testModule. An import that begins with ~/ is of testModule too; ~ is its root.
func fakePackage(path string, imports ...string) goPackage {
	p := goPackage{ImportPath: testModule + "/" + path, Doc: "Package does.", GoFiles: []string{"a.go"}}
	if path == "." {
		p.ImportPath = testModule
	}
	p.Module.Path = testModule
	for _, i := range imports {
		if rest, ok := strings.CutPrefix(i, "~"); ok {
			i = testModule + rest
		}
		p.Imports = append(p.Imports, i)
	}
	return p
}

// withFiles gives a package other files.
func withFiles(p goPackage, files ...string) goPackage {
	p.GoFiles = files
	return p
}

// allowedLayout is a layout with every arrow that there may be.
func allowedLayout() []goPackage {
	files := []string{"command.go", "decide.go", "event.go", "evolve.go"}
	return []goPackage{
		fakePackage(".", "log/slog", "~/processing", "~/processing/kafka", "~/processing/httpapi", "~/readstore", "~/readstore/redisstore", "~/schemas", "github.com/alecthomas/kong"),
		fakePackage("schemas", "github.com/twmb/avro"),
		fakePackage("readstore", "crypto/sha1"),
		fakePackage("readstore/memstore", "~/readstore"),
		fakePackage("readstore/redisstore", "~/readstore", redisLibrary),
		fakePackage("readstore/storetest", "~/readstore", "pgregory.net/rapid"),
		fakePackage("processing", "~/readstore", "~/schemas", "github.com/google/uuid"),
		withFiles(fakePackage("processing/domain/order", "time", "~/processing"), append(files, "order.go")...),
		withFiles(fakePackage("processing/domain/account", "~/processing"), append(files, "account.go", "upcast.go")...),
		fakePackage("processing/projection/orderstatus", "~/processing", "~/processing/domain/order", "~/readstore"),
		fakePackage("processing/kafka", "~/processing", "~/readstore", "~/schemas", kgoLibrary, "github.com/twmb/franz-go/pkg/sr"),
		fakePackage("processing/httpapi", "net/http", "~/processing", "~/readstore"),
		fakePackage("processing/embedded", "~/schemas", "github.com/twmb/franz-go/pkg/kfake", "github.com/twmb/franz-go/pkg/sr/srfake", "github.com/alicebob/miniredis/v2"),
		fakePackage("processing/processingtest", "testing", "~/processing", "~/readstore"),
		fakePackage("local", "~", "~/processing/embedded", "~/processing/kafka"),
		fakePackage("examples", "embed"),
		fakePackage("cmd/internal/app", "~", "~/processing", "~/processing/domain/order", "~/processing/projection/orderstatus", "~/schemas"),
		fakePackage("cmd/quickstart", "~", "~/cmd/internal/app", "~/local", "~/examples", "~/processing/embedded", "~/processing/domain/order"),
		fakePackage("cmd/ingest", "~", "~/cmd/internal/app"),
	}
}

// TestLayoutIsHeld breaks each rule once, in a layout that is right without it.
func TestLayoutIsHeld(t *testing.T) {
	if wrong := violations(allowedLayout()); len(wrong) > 0 {
		t.Fatalf("a layout with nothing but what is allowed: %q", wrong)
	}
	mute := fakePackage("processing/httpapi")
	mute.Doc = ""
	cases := map[string]struct {
		p    goPackage
		want string
	}{
		"domain imports readstore":          {fakePackage("processing/domain/order", "~/readstore"), "of this module it may import [processing]"},
		"domain imports another domain":     {fakePackage("processing/domain/order", "~/processing/domain/account"), "of this module it may import [processing]"},
		"domain imports a library":          {fakePackage("processing/domain/order", "github.com/google/uuid"), "the standard library and this module only"},
		"projection imports an adapter":     {fakePackage("processing/projection/orderstatus", "~/readstore/redisstore"), "of this module it may import"},
		"projection imports a library":      {fakePackage("processing/projection/orderstatus", "github.com/google/uuid"), "the standard library and this module only"},
		"processing imports an adapter":     {fakePackage("processing", "~/processing/kafka"), "of this module it may import [readstore schemas]"},
		"processing imports a domain":       {fakePackage("processing", "~/processing/domain/order"), "of this module it may import [readstore schemas]"},
		"processing imports kgo":            {fakePackage("processing", kgoLibrary), "only [processing/kafka e2e/stack e2e/suite] may"},
		"readstore imports schemas":         {fakePackage("readstore", "~/schemas"), "of this module it may import []"},
		"readstore imports a library":       {fakePackage("readstore", "github.com/google/uuid"), "the standard library and this module only"},
		"schemas imports processing":        {fakePackage("schemas", "~/processing"), "of this module it may import []"},
		"memstore imports redisstore":       {fakePackage("readstore/memstore", "~/readstore/redisstore"), "of this module it may import [readstore]"},
		"redisstore imports processing":     {fakePackage("readstore/redisstore", "~/processing"), "of this module it may import [readstore]"},
		"httpapi imports kafka":             {fakePackage("processing/httpapi", "~/processing/kafka"), "of this module it may import [processing readstore]"},
		"kafka imports redisstore":          {fakePackage("processing/kafka", "~/readstore/redisstore"), "of this module it may import"},
		"adapter imports root":              {fakePackage("processing/httpapi", "~"), "of this module it may import [processing readstore]"},
		"httpapi imports sr":                {fakePackage("processing/httpapi", "github.com/twmb/franz-go/pkg/sr"), "only [processing/kafka e2e/stack e2e/suite] may"},
		"root imports kadm":                 {fakePackage(".", "github.com/twmb/franz-go/pkg/kadm"), "only [processing/kafka e2e/stack e2e/suite] may"},
		"root imports kmsg":                 {fakePackage(".", "github.com/twmb/franz-go/pkg/kmsg"), "only [processing/kafka e2e/stack e2e/suite] may"},
		"root imports go-redis":             {fakePackage(".", redisLibrary), "only [readstore/redisstore e2e/stack] may"},
		"root imports part of go-redis":     {fakePackage(".", redisLibrary+"/maintnotifications"), "only [readstore/redisstore e2e/stack] may"},
		"root imports embedded":             {fakePackage(".", "~/processing/embedded"), "of this module it may import"},
		"root imports local":                {fakePackage(".", "~/local"), "of this module it may import"},
		"kafka imports kfake":               {fakePackage("processing/kafka", "github.com/twmb/franz-go/pkg/kfake"), "only [processing/embedded] may"},
		"kafka imports srfake":              {fakePackage("processing/kafka", "github.com/twmb/franz-go/pkg/sr/srfake"), "only [processing/embedded] may"},
		"embedded imports kgo":              {fakePackage("processing/embedded", kgoLibrary), "only [processing/kafka e2e/stack e2e/suite] may"},
		"local imports miniredis":           {fakePackage("local", "github.com/alicebob/miniredis/v2"), "only [processing/embedded] may"},
		"local imports processing":          {fakePackage("local", "~/processing"), "of this module it may import [. processing/embedded processing/kafka]"},
		"schemas imports hamba/avro":        {fakePackage("schemas", "github.com/hamba/avro/v2"), "only [e2e/suite] may, beside tests"},
		"processing imports twmb/avro":      {fakePackage("processing", "github.com/twmb/avro"), "only [schemas] may"},
		"a command imports an adapter":      {fakePackage("cmd/ingest", "~/processing/kafka"), "of this module it may import [. cmd/internal/app]"},
		"a command imports a domain":        {fakePackage("cmd/ingest", "~/processing/domain/order"), "of this module it may import [. cmd/internal/app]"},
		"a command imports local":           {fakePackage("cmd/ingest", "~/local"), "of this module it may import [. cmd/internal/app]"},
		"a command imports embedded":        {fakePackage("cmd/ingest", "~/processing/embedded"), "of this module it may import [. cmd/internal/app]"},
		"quickstart imports an adapter":     {fakePackage("cmd/quickstart", "~/readstore/redisstore"), "of this module it may import"},
		"the app imports an adapter":        {fakePackage("cmd/internal/app", "~/processing/kafka"), "of this module it may import"},
		"root imports a domain":             {fakePackage(".", "~/processing/domain/order"), "of this module it may import"},
		"a package without a place":         {fakePackage("util"), "util has no place in the layout"},
		"a package below a domain":          {fakePackage("processing/domain/order/rules"), "has no place in the layout"},
		"a package without a comment":       {mute, "processing/httpapi has no package comment"},
		"a domain lacks evolve.go":          {withFiles(fakePackage("processing/domain/order"), "order.go", "command.go", "event.go", "decide.go"), "has no evolve.go"},
		"a domain lacks the package's file": {withFiles(fakePackage("processing/domain/order"), "doc.go", "command.go", "event.go", "decide.go", "evolve.go"), "has no order.go"},
		"a domain has one file more":        {withFiles(fakePackage("processing/domain/order"), "order.go", "command.go", "event.go", "decide.go", "evolve.go", "helper.go"), "has a file helper.go"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			packages := slices.DeleteFunc(allowedLayout(), func(p goPackage) bool { return p.ImportPath == c.p.ImportPath })
			wrong := violations(append(packages, c.p))
			if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, c.want) }) {
				t.Errorf("want one that says %q, got %q", c.want, wrong)
			}
		})
	}
}

// TestDesignIsTrue holds the map in DESIGN.md to what there is: it names every package, domains and
// projections by their folder, and no Go file that is gone.
func TestDesignIsTrue(t *testing.T) {
	page, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{"upcast.go": true} // told of as one that may be
	for _, p := range listPackages(t) {
		for _, f := range p.GoFiles {
			files[f] = true
		}
		at := placeOf(p.Module.Path, p.ImportPath)
		if fitsAnyPlace([]string{"processing/domain/*", "processing/projection/*"}, at) {
			at = path.Dir(at)
		}
		if !bytes.Contains(page, []byte("`"+at+"`")) {
			t.Errorf("DESIGN.md does not name %s: say in a few words what it is for", at)
		}
	}
	for _, name := range regexp.MustCompile("`([a-z_]+\\.go)`").FindAllSubmatch(page, -1) {
		if f := string(name[1]); !files[f] && !strings.HasSuffix(f, "_test.go") {
			t.Errorf("DESIGN.md names %s, which is gone", f)
		}
	}
}
