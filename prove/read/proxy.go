package main

import (
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/ledgerline/ledgerline/prove/process"
)

// proxy is the one address of a Redis whose master changes. A change ends every connection.
type proxy struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex
	target string // "" for nobody
	open   map[net.Conn]bool
}

func startProxy(port int) (*proxy, error) {
	listener, err := net.Listen("tcp", process.Local(port))
	if err != nil {
		return nil, fmt.Errorf("starting the proxy: %w", err)
	}
	p := &proxy{listener: listener, open: map[net.Conn]bool{}}
	p.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { p.serve(conn) })
		}
	})
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// use sends connections to an address from now on, "" for none, and ends those that there are.
func (p *proxy) use(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	for conn := range p.open {
		_ = conn.Close()
	}
	clear(p.open)
}

// serve copies both ways until one of the two ends.
func (p *proxy) serve(conn net.Conn) {
	p.mu.Lock()
	target := p.target
	p.open[conn] = true
	p.mu.Unlock()
	defer p.let(conn)
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	p.mu.Lock()
	// It was dialed without the lock: whoever came to use meanwhile has not seen it.
	current := p.target == target && p.open[conn]
	p.open[server] = true
	p.mu.Unlock()
	defer p.let(server)
	if !current {
		return
	}
	p.serving.Go(func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	})
	_, _ = io.Copy(conn, server)
}

func (p *proxy) let(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
	_ = conn.Close()
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.use("")
	p.serving.Wait()
}
