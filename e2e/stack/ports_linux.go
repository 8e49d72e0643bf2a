package stack

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// holdPort binds a socket to the port that never listens. It fails if there is any other socket on the
// port. Once it is bound, it shares the address with those that ask for that, as the sockets of Java,
// Redis and Go do on which they listen, but not with another one made here. What is returned closes it.
func holdPort(port int) (func(), error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	if err == nil {
		err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("holding port %d: %w", port, err), syscall.Close(fd))
	}
	return func() { _ = syscall.Close(fd) }, nil
}
