package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline/e2e/stack"
	"github.com/ledgerline/ledgerline/prove/history"
)

func TestCompare(t *testing.T) {
	before := history.Offsets{"0 tally/0": 10, "1 tally/1": 20, "2 tally/2": 5}
	for name, row := range map[string]struct {
		at   history.Offsets
		fell int
		by   int64
	}{
		"further": {history.Offsets{"0 tally/0": 11, "1 tally/1": 20, "2 tally/2": 5, "3 tally/3": 1}, 0, 0},
		"lower":   {history.Offsets{"0 tally/0": 9, "1 tally/1": 15, "2 tally/2": 6}, 2, 6},
		"gone":    {history.Offsets{}, 3, 35},
	} {
		if fell, by := compare(before, row.at); fell != row.fell || by != row.by {
			t.Errorf("%s: %d fell by %d, want %d by %d", name, fell, by, row.fell, row.by)
		}
	}
}

// TestLacksAndShare: a model keyed as its events are has a partition in one bucket, the other in all.
func TestLacksAndShare(t *testing.T) {
	ends := map[int32]int64{0: 10, 1: 30}
	for _, row := range []struct {
		m       model
		at      history.Offsets
		buckets int
		lacks   int64
		share   float64
	}{
		{models[0], history.Offsets{"0 tally/0": 10, "1 tally/1": 30}, 2, 0, 1},
		{models[0], history.Offsets{"0 tally/0": 10, "1 tally/1": 10}, 2, 20, 0.5},
		{models[0], history.Offsets{}, 2, 40, 0},
		{models[1], history.Offsets{"0 tally/0": 10, "0 tally/1": 30, "1 tally/0": 10, "1 tally/1": 10}, 2, 20, 0.75},
	} {
		if lacks, share := row.m.lacks(row.at, row.buckets, ends), row.m.share(row.at, row.buckets, ends); lacks != row.lacks || share != row.share {
			t.Errorf("%s at %v lacks %d and has %f, want %d and %f", row.m.name, row.at, lacks, share, row.lacks, row.share)
		}
	}
}

func TestBuiltBy(t *testing.T) {
	c := catalog{generations: map[string]generation{
		"a": {ID: "a", State: "building", Builder: "rebuild host 17 abc"},
		"b": {ID: "b", State: "building", Builder: "rebuild host 171 abc"},
		"c": {ID: "c", State: "building", Builder: "processor host 18"},
		"d": {ID: "d", State: "ready", Builder: "rebuild host 19 abc"},
	}}
	for pid, want := range map[int]string{17: "a", 171: "b", 18: "", 19: ""} {
		if got := builtBy(c, pid); got.ID != want {
			t.Errorf("%d built %q, want %q", pid, got.ID, want)
		}
	}
}

// TestProxy: a change of target ends the connections there are, and those to come find the new one.
func TestProxy(t *testing.T) {
	ports, err := stack.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProxy(ports[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	first, second := says(t, "first"), says(t, "second")
	p.use(first)
	conn, line := ask(t, p)
	if line != "first" {
		t.Fatalf("%q answers", line)
	}
	p.use(second)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes of a connection to who is no longer the target", n)
	}
	if _, line := ask(t, p); line != "second" {
		t.Errorf("%q answers", line)
	}
	p.use("")
	if _, line := ask(t, p); line != "" {
		t.Errorf("%q answers, want nobody", line)
	}
}

// says listens and greets everybody with a line.
func says(t *testing.T, line string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, line)
		}
	}()
	return listener.Addr().String()
}

func ask(t *testing.T, p *proxy) (net.Conn, string) {
	t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n') // one that is closed says nothing
	return conn, strings.TrimSpace(line)
}
