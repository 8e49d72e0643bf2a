package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestDial makes every connection with the function given, and TLS over it.
func TestDial(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	for name, security := range map[string]*tls.Config{"plain": nil, "TLS": {RootCAs: trusted, MinVersion: tls.VersionTLS12}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := []kfake.Opt{kfake.NumBrokers(1)}
			if security != nil {
				opts = append(opts, kfake.TLS(&tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}))
			}
			c, err := kfake.NewCluster(opts...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			var dialled atomic.Int32
			cfg := ClientConfig{Brokers: []string{"broker.invalid:9092"}, TLS: security, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				dialled.Add(1)
				return new(net.Dialer).DialContext(ctx, network, c.ListenAddrs()[0])
			}}
			if security != nil {
				cfg.TLS = security.Clone()
				cfg.TLS.ServerName = "127.0.0.1"
			}
			if _, err := Describe(t.Context(), cfg, nil); err != nil {
				t.Errorf("describing: %v", err)
			}
			if dialled.Swap(0) == 0 {
				t.Error("the check at a start dialled by itself")
			}
			cl, err := kgo.NewClient(clientOptions(cfg)...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cl.Close)
			if err := cl.Ping(t.Context()); err != nil {
				t.Errorf("pinging: %v", err)
			}
			if dialled.Load() == 0 {
				t.Error("the client dialled by itself")
			}
		})
	}
}
