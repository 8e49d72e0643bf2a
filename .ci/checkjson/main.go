// Checkjson holds the last line of its standard input, a JSON object, to figures that are known.
//
//	quickstart --once --json | checkjson 'orders=8589' 'rebuild_verified=true' 'events_per_second>0'
//
// Each argument is a field, = or >, and a JSON value; > compares numbers. It prints the line, and exits
// with 1 and a line for each field that is otherwise. It refuses to run without arguments.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "checkjson:", err)
		os.Exit(1)
	}
}

func run(wants []string, in io.Reader) error {
	if len(wants) == 0 {
		return errors.New("nothing to check: give field=value or field>value")
	}
	last, err := lastLine(in)
	if err != nil {
		return fmt.Errorf("reading the figures: %w", err)
	}
	fmt.Println(last)
	var figures map[string]json.RawMessage
	if err := json.Unmarshal([]byte(last), &figures); err != nil {
		return fmt.Errorf("reading the last line, %q, as a JSON object: %w", last, err)
	}
	var wrong []error
	for _, want := range wants {
		if err := check(figures, want); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func lastLine(in io.Reader) (last string, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			last = text
		}
	}
	if last == "" && lines.Err() == nil {
		return "", errors.New("there is no line")
	}
	return last, lines.Err()
}

// check compares one figure. Values are compared as text, so that 1 is neither 1.0 nor "1".
func check(figures map[string]json.RawMessage, want string) error {
	i := strings.IndexAny(want, "=>")
	if i < 1 {
		return fmt.Errorf("want field=value or field>value, got %q", want)
	}
	field, value := want[:i], want[i+1:]
	got, ok := figures[field]
	if !ok {
		return fmt.Errorf("%s is missing, want %s", field, want)
	}
	if want[i] == '=' {
		if string(got) != value {
			return fmt.Errorf("%s is %s, want %s", field, got, value)
		}
		return nil
	}
	var figure, bound float64
	if err := errors.Join(json.Unmarshal(got, &figure), json.Unmarshal([]byte(value), &bound)); err != nil {
		return fmt.Errorf("comparing %s, which is %s, with %s: %w", field, got, value, err)
	}
	if figure <= bound {
		return fmt.Errorf("%s is %s, want more than %s", field, got, value)
	}
	return nil
}
