//go:build !linux

package stack

import (
	"fmt"
	"net"
)

// holdPort returns an error if somebody listens on the port. It holds nothing: elsewhere than on Linux
// nobody could listen on what is held.
func holdPort(port int) (func(), error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	return func() {}, l.Close()
}
