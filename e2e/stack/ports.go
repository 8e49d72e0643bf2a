package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken from below those that systems give to outgoing connections (32768 on Linux): while a
// service is down, a client's own connection could otherwise sit on its port.
const firstPort, lastPort = 20000, 32000

// FreePorts returns n ports on 127.0.0.1 that nobody listens on, all different. They are nobody's until
// they are listened on.
func FreePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	var last error
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			return nil, fmt.Errorf("looking for %d free ports: %w", n, errors.Join(errors.New("too few were found"), last))
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		held, ports = append(held, l), append(ports, port)
	}
	return ports, nil
}
