package stack

import (
	"fmt"
	"net"
	"runtime"
	"testing"
)

// TestPortsAreReserved has two stacks of one machine choose ports before either listens on any.
func TestPortsAreReserved(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a port be held for another process")
	}
	const n = 500 // of 12,000: left to chance, some 20 would be the same
	first, release, err := ReservePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	second, releaseSecond, err := ReservePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	defer releaseSecond()
	taken := map[int]bool{}
	for _, p := range first {
		taken[p] = true
	}
	for _, p := range second {
		if taken[p] {
			t.Errorf("port %d was given out twice", p)
		}
	}
	for range 2 { // the second time as after a restart
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first[0]))
		if err != nil {
			t.Fatalf("the service for which the port is held: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
