package ledgerline_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// logMethods are the methods of a logger, and where their message stands.
var logMethods = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log": 2, "LogAttrs": 2, "With": -1,
}

// attrMakers are slog's functions that make a field.
var attrMakers = []string{"Any", "Bool", "Duration", "Float64", "Group", "Int", "Int64", "String", "Time", "Uint64"}

// TestLogFields holds every message and field that the product logs to docs/logs.md, and that page to
// what the linter allows.
func TestLogFields(t *testing.T) {
	page, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	fields, meanings, _ := strings.Cut(string(page), "\n## ")
	var allowed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(fields, -1) {
		allowed = append(allowed, row[1])
	}
	lint, err := os.ReadFile(".golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	if list := "allowed-keys: [" + strings.Join(allowed, ", ") + "]"; !strings.Contains(string(lint), list+"\n") {
		t.Errorf(".golangci.yml does not say %s", list)
	}

	messages, used := map[string]bool{}, map[string]bool{}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "e2e" || path != "." && strings.HasPrefix(d.Name(), ".")) { // the test stacks log what no operator reads
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				message, keys, wrong := logCall(call)
				for _, w := range wrong {
					t.Errorf("%s: %s", files.Position(call.Pos()), w)
				}
				if message != "" {
					messages[message] = true
				}
				for _, key := range keys {
					used[key] = true
					if !slices.Contains(allowed, key) {
						t.Errorf("%s: the field %q is not one of docs/logs.md", files.Position(call.Pos()), key)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) < 15 || len(used) < 8 {
		t.Errorf("found %d messages and the fields %v: this test looks at the wrong place", len(messages), used)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(meanings, -1) {
		if !messages[row[1]] {
			t.Errorf("docs/logs.md explains %q, which nothing says", row[1])
		}
	}
}

// logCall returns the message and the fields of a call that logs, and what is wrong with it.
func logCall(call *ast.CallExpr) (message string, keys, wrong []string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil, nil
	}
	if on, ok := method.X.(*ast.Ident); ok && on.Name == "slog" && slices.Contains(attrMakers, method.Sel.Name) {
		if key, ok := literal(call.Args[0]); ok {
			return "", []string{key}, nil
		}
		return "", nil, []string{"the name of a field is no constant"}
	}
	at, ok := logMethods[method.Sel.Name]
	if !ok || !isLogger(method.X) {
		return "", nil, nil
	}
	if at >= 0 {
		text, ok := literal(call.Args[at])
		if first := []rune(text + "?")[0]; !ok || unicode.IsUpper(first) {
			wrong = append(wrong, "a message is a constant in lower case")
		}
		message = text
	}
	for i := at + 1; i < len(call.Args); i += 2 {
		if key, ok := literal(call.Args[i]); ok {
			keys = append(keys, key)
		} else {
			wrong = append(wrong, "the name of a field is no constant")
		}
	}
	if (len(call.Args)-at-1)%2 != 0 {
		wrong = append(wrong, "a field has no value")
	}
	return message, keys, wrong
}

// isLogger tells a logger by its name.
func isLogger(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return name == "log" || name == "Log" || name == "often" || name == "logger"
}

func literal(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
