package kafka

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestPasswordsAreAskedAnew changes a password between two authentications.
func TestPasswordsAreAskedAnew(t *testing.T) {
	t.Parallel()
	var password string
	ask := func() (string, error) { return password, nil }
	for name, authenticate := range map[string]func(t *testing.T) string{
		"brokers": func(t *testing.T) string {
			m, err := (&SASL{Mechanism: Plain, User: "u", Password: ask}).mechanism()
			if err != nil {
				t.Fatal(err)
			}
			_, sent, err := m.Authenticate(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			return string(bytes.TrimPrefix(sent, []byte("\x00u\x00")))
		},
		"registry": registryThatHears(t, ask),
	} {
		for _, want := range []string{"first", "second"} {
			password = want
			if got := authenticate(t); got != want {
				t.Errorf("%s heard %q, want %q", name, got, want)
			}
		}
	}
	lost := errors.New("no such file")
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		m, err := (&SASL{Mechanism: mechanism, User: "u", Password: func() (string, error) { return "", lost }}).mechanism()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.Authenticate(t.Context(), ""); !errors.Is(err, lost) {
			t.Errorf("%s: %v, want why there is no password", mechanism, err)
		}
	}
}

// registryThatHears returns what makes a request and tells the password that came with it.
func registryThatHears(t *testing.T, ask func() (string, error)) func(*testing.T) string {
	t.Helper()
	var heard string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, heard, _ = req.BasicAuth()
		_, _ = w.Write([]byte(`{"compatibilityLevel":"BACKWARD"}`))
	}))
	t.Cleanup(server.Close)
	registry, err := NewRegistry(RegistryConfig{URL: strings.Replace(server.URL, "http://", "http://other:unused@", 1), User: "u", Password: ask})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return func(t *testing.T) string {
		t.Helper()
		if err := registry.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return heard
	}
}

func TestUnknownMechanismIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Describe(t.Context(), ClientConfig{Brokers: []string{"127.0.0.1:1"}, SASL: &SASL{Mechanism: "gssapi"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "--kafka-sasl") {
		t.Errorf("got %v", err)
	}
}

// TestRefusalsOfApacheKafka has a broker answer as Apache Kafka does where the embedded one hangs up or
// has another opinion.
func TestRefusalsOfApacheKafka(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, ClientConfig) {
		t.Helper()
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c, ClientConfig{Brokers: c.ListenAddrs()}
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		c, cfg := start(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"))
		cfg.SASL = &SASL{Mechanism: Plain, User: "u", Password: func() (string, error) { return "wrong", nil }}
		c.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			answer := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
			return answer, nil, true
		})
		began := time.Now()
		_, err := Describe(t.Context(), cfg, Topics{}.Of("order", 1))
		if hint := Hint(cfg, err); err == nil || !strings.Contains(hint, "--kafka-user and --kafka-password-file") || time.Since(began) > 10*time.Second {
			t.Errorf("after %s: %v; %s", time.Since(began), err, hint)
		}
	})
	t.Run("another mechanism", func(t *testing.T) {
		t.Parallel()
		c, cfg := start(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"))
		cfg.SASL = &SASL{Mechanism: ScramSHA256, User: "u", Password: func() (string, error) { return "right", nil }}
		c.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			answer := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
			answer.ErrorCode, answer.SupportedMechanisms = kerr.UnsupportedSaslMechanism.Code, []string{"PLAIN"}
			return answer, nil, true
		})
		_, err := Describe(t.Context(), cfg, Topics{}.Of("order", 1))
		if hint := Hint(cfg, err); err == nil || !strings.Contains(hint, "set --kafka-sasl") {
			t.Errorf("%v; %s", err, hint)
		}
	})
	t.Run("no authorizer", func(t *testing.T) {
		t.Parallel()
		c, cfg := start(t)
		c.ControlKey(int16(kmsg.DescribeACLs), func(req kmsg.Request) (kmsg.Response, error, bool) {
			answer := req.ResponseKind().(*kmsg.DescribeACLsResponse)
			answer.ErrorCode = kerr.SecurityDisabled.Code
			return answer, nil, true
		})
		p, err := NewProvisioner(ProvisionerConfig{Client: cfg, Registry: openRegistry(t, sharedRegistry)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		_, err = p.Plan(t.Context(), Description{Grants: []Grant{{User: "u", Access: []Access{{Resource: TopicResource, Name: "order.events", Operations: []Operation{MayRead}}}}}})
		if err == nil || !strings.Contains(err.Error(), "authorizer.class.name") {
			t.Errorf("got %v", err)
		}
	})
}

// TestAccessIsAskedWithoutTrace finds what an anonymous client may do where everybody may do
// everything, and leaves no group and no transaction behind.
func TestAccessIsAskedWithoutTrace(t *testing.T) {
	t.Parallel()
	p := startProvisioning(t)
	p.apply(describedOrders())
	access := []Access{
		{Resource: TopicResource, Name: "order.events", Operations: []Operation{MayRead, MayWrite, MayDescribeConfigs}},
		{Resource: TopicResource, Name: "there-is-none", Operations: []Operation{MayRead}},
		{Resource: GroupResource, Name: "g", Operations: []Operation{MayRead}},
		{Resource: TransactionalResource, Name: "id", Operations: []Operation{MayWrite}},
	}
	missing, err := CheckAccess(t.Context(), ClientConfig{Brokers: p.services.Brokers}, access)
	if err != nil || missing != nil {
		t.Errorf("missing %v, %v", missing, err)
	}
	if ids, err := p.admin.ListTransactions(t.Context(), nil, nil); err != nil || len(ids) > 0 {
		t.Errorf("transactions: %v, %v", ids, err)
	}
	groups, err := p.admin.ListGroups(t.Context())
	if err != nil || len(groups) > 0 {
		t.Errorf("groups: %v, %v", groups, err)
	}
}
