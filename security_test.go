package ledgerline_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ledgerline/ledgerline"
	"github.com/ledgerline/ledgerline/processing/embedded"
)

// authority signs certificates for 127.0.0.1. Its file holds its own certificate.
func authority(t *testing.T) (file string, server *tls.Config) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	until := time.Now().Add(time.Hour)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "services"}, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caKey, leafKey := newKey(), newKey()
	caDER := sign(ca, ca, caKey, caKey)
	file = secret(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})))
	return file, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{sign(leaf, ca, leafKey, caKey)}, PrivateKey: leafKey}}, MinVersion: tls.VersionTLS12}
}

// secret writes a file of its own with a content.
func secret(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// password is that of every user of secured services.
func password(user string) string { return "s3cret-of-" + user }

func loginOf(user string) embedded.Login { return embedded.Login{User: user, Password: password(user)} }

// secured is services with everything on: TLS, users, rights.
type secured struct {
	embedded.Config
	*embedded.Services
	ca string
}

func startSecured(t *testing.T, users ...string) *secured {
	t.Helper()
	ca, server := authority(t)
	s := &secured{ca: ca, Config: embedded.Config{TLS: server, KafkaAdmin: loginOf("admin"), Registry: loginOf("reader"), Redis: loginOf("models")}}
	for _, u := range users {
		s.KafkaUsers = append(s.KafkaUsers, loginOf(u))
	}
	var err error
	if s.Services, err = embedded.Start(s.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the services: %v", err)
		}
	})
	return s
}

// as is how a Kafka user reaches the services.
func (s *secured) as(t *testing.T, user string) ledgerline.Connection {
	t.Helper()
	return ledgerline.Connection{Brokers: s.Brokers, RegistryURL: s.RegistryURL, RedisURL: s.RedisURL, Security: ledgerline.Security{
		KafkaTLS: true, CAFile: s.ca, KafkaUser: user, KafkaPasswordFile: secret(t, password(user)+"\n"),
		RegistryUser: s.Registry.User, RegistryPasswordFile: secret(t, s.Registry.Password),
		RedisUser: s.Redis.User, RedisPasswordFile: secret(t, s.Redis.Password),
	}}
}

// provisionSecured makes topics and schemas, and gives each binary's user its rights.
func (s *secured) provision(t *testing.T, verb string) ended {
	t.Helper()
	return run(t, ledgerline.RunProvision, s.as(t, "admin"), verb, "--partitions", "1", "--ingest-user", "writer", "--processor-user", "folder", "--rebuild-user", "builder")
}

// TestSecured runs everything with TLS, a user for each binary who may do no more than it needs, and
// passwords for registry and Redis: a command by HTTP, a query, a rebuild.
func TestSecured(t *testing.T) {
	t.Parallel()
	s := startSecured(t, "writer", "folder", "builder")
	if p := s.provision(t, "check"); p.code != ledgerline.ExitFailed || !strings.Contains(p.stdout, "user writer: Write on topic order.events is not allowed, want allowed") {
		t.Errorf("check before: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	if p := s.provision(t, "apply"); p.code != ledgerline.ExitOK || !strings.Contains(p.stdout, "user folder: Read on every group that begins with ledgerline.processor. allowed") {
		t.Fatalf("apply: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	for _, verb := range []string{"apply", "check", "diff"} {
		if p := s.provision(t, verb); p.code != ledgerline.ExitOK || len(lines(p.stdout)) != 1 {
			t.Errorf("%s once more: exit %d: %s%s", verb, p.code, p.stdout, p.stderr)
		}
	}

	ingest := serve(t, "ingest", ledgerline.RunIngest, s.as(t, "writer"))
	processor := serve(t, "processor", ledgerline.RunProcessor, s.as(t, "folder"))
	placed := newAPI(t, "http://"+ingest.http).post("/v1/orders/o-1/place-order", placing("ada", 1250))
	if placed.Status != http.StatusCreated {
		t.Fatalf("the order: %d %s", placed.Status, placed.Body)
	}
	shown := newAPI(t, "http://"+processor.http)
	if a := shown.get("/v1/customers/ada", "Ledgerline-Position", placed.position()); a.Status != http.StatusOK || !strings.Contains(string(a.Body), "1250") {
		t.Errorf("the customer: %d %s", a.Status, a.Body)
	}
	if a := shown.get("/v1/orders/o-1/events", "Ledgerline-Position", placed.position()); a.Status != http.StatusOK || !strings.Contains(string(a.Body), "OrderPlaced") {
		t.Errorf("the events: %d %s", a.Status, a.Body)
	}
	if p := run(t, ledgerline.RunRebuild, s.as(t, "builder"), "run", "customer-orders", "--promote"); p.code != ledgerline.ExitOK {
		t.Errorf("rebuild: exit %d: %s%s", p.code, p.stdout, p.stderr)
	}
	byFile, byURL := s.as(t, "builder"), s.as(t, "builder")
	byURL.RedisURL = strings.Replace(s.RedisURL, "rediss://", "rediss://models:"+password("models")+"@", 1)
	byURL.RedisUser, byURL.RedisPasswordFile = "", ""
	for _, conn := range []ledgerline.Connection{byFile, byURL} {
		p := run(t, ledgerline.RunProcessor, conn, "key", "customer-orders", "ada")
		if want := "redis-cli -u " + s.RedisURL + " --cacert " + s.ca + " --user models --askpass HSCAN "; !strings.HasPrefix(p.stdout, want) {
			t.Errorf("the line is %s%s, want %s", p.stdout, p.stderr, want)
		}
	}
	for _, mechanism := range []string{"scram-sha-256", "plain"} {
		conn := s.as(t, "builder")
		conn.KafkaSASL = mechanism
		if p := run(t, ledgerline.RunRebuild, conn, "verify", "customer-orders"); p.code != ledgerline.ExitOK {
			t.Errorf("by %s: exit %d: %s%s", mechanism, p.code, p.stdout, p.stderr)
		}
	}
}

// TestPasswordsAreNotTold looks for a password in everything that the binaries print.
func TestPasswordsAreNotTold(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	services, conn := startEmbedded(t, "")
	provision(t, conn, 1)
	nobody := freeAddr(t)
	starts := map[string]program{"ingest serve": ledgerline.RunIngest, "processor serve": ledgerline.RunProcessor, "processor key order-status o-1": ledgerline.RunProcessor, "rebuild status": ledgerline.RunRebuild, "provision check": ledgerline.RunProvision}
	for name, main := range starts {
		for _, flag := range [][]string{
			{"--redis-url", "redis://me:" + password + "@" + nobody}, {"--redis-url", "redis://me:" + password + "@ " + nobody}, {"--redis-url", "redis://me:" + password + "@" + nobody + "?what=1"},
			{"--redis-url", strings.Replace(services.RedisURL, "redis://", "redis://me:"+password+"@", 1)},
			{"--registry-url", "http://me:" + password + "@" + nobody}, {"--registry-url", "http://me:" + password + "@ " + nobody},
			{"--registry-url", strings.Replace(services.RegistryURL, "http://", "https://me:"+password+"@", 1)},
			{"--kafka-user", "me", "--kafka-password-file", secret(t, password)},
			{"--registry-user", "me", "--registry-password-file", secret(t, password), "--registry-url", "http://" + nobody},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			args := append(strings.Fields(name)[1:], "--log-level", "debug")
			if strings.HasSuffix(name, "serve") {
				args = append(args, "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")
			}
			p := runWith(ctx, main, nil, append(args, connectArgs(conn, flag...)...)...)
			cancel()
			if strings.Contains(p.stdout+p.stderr, password) {
				t.Errorf("%s %v tells the password: %s%s", name, flag, p.stdout, p.stderr)
			}
		}
	}
}
