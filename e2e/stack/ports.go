package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Ports are taken from below those that systems give to outgoing connections (32768 on Linux): while a
// service is down, a client's own connection could otherwise sit on its port.
const firstPort, lastPort = 20000, 32000

// FreePorts returns n ports on 127.0.0.1 that nobody listens on, all different. They are nobody's until
// they are listened on.
func FreePorts(n int) ([]int, error) {
	ports, release, err := ReservePorts(n)
	if err == nil {
		release()
	}
	return ports, err
}

// ReservePorts returns n ports on 127.0.0.1 that nobody listens on and, on Linux, that neither it nor
// another process's ReservePorts gives out again before release. Services can listen on them meanwhile:
// a broker takes seconds to do so for the first time, and is down between two runs.
func ReservePorts(n int) (ports []int, release func(), err error) {
	var held []func()
	release = func() {
		for _, let := range held {
			let()
		}
	}
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			release()
			return nil, nil, fmt.Errorf("looking for %d free ports: %w", n, errors.Join(errors.New("too few were found"), err))
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		if slices.Contains(ports, port) {
			continue
		}
		var let func()
		if let, err = holdPort(port); err == nil {
			held, ports = append(held, let), append(ports, port)
		}
	}
	return ports, release, nil
}
