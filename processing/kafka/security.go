package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/twmb/franz-go/pkg/sr"
)

// The mechanisms of [SASL].
const (
	ScramSHA512 = "scram-sha-512"
	ScramSHA256 = "scram-sha-256"
	Plain       = "plain"
)

// SASL says who a client is.
type SASL struct {
	// Mechanism is ScramSHA512, ScramSHA256 or Plain, which shows the password to whoever listens
	// where there is no TLS. Required.
	Mechanism string
	// User is the name without "User:". Required.
	User string
	// Password is asked at every authentication, so that it may change. Required.
	Password func() (string, error)
}

func (s *SASL) mechanism() (sasl.Mechanism, error) {
	asScram := func(context.Context) (scram.Auth, error) {
		password, err := s.Password()
		return scram.Auth{User: s.User, Pass: password}, err
	}
	switch s.Mechanism {
	case ScramSHA512:
		return scram.Sha512(asScram), nil
	case ScramSHA256:
		return scram.Sha256(asScram), nil
	case Plain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := s.Password()
			return plain.Auth{User: s.User, Pass: password}, err
		}), nil
	}
	return nil, fmt.Errorf("no SASL mechanism %q: set --kafka-sasl to %s, %s or %s", s.Mechanism, ScramSHA512, ScramSHA256, Plain)
}

// securityOptions returns how a client encrypts and who it says it is.
func securityOptions(c ClientConfig) []kgo.Opt {
	var opts []kgo.Opt
	switch {
	case c.Dial != nil && c.TLS != nil:
		opts = append(opts, kgo.Dialer(overTLS(c.Dial, c.TLS)))
	case c.Dial != nil:
		opts = append(opts, kgo.Dialer(c.Dial))
	case c.TLS != nil:
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.SASL != nil {
		if m, err := c.SASL.mechanism(); err == nil { // check has refused any other
			opts = append(opts, kgo.SASL(m))
		}
	}
	return opts
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// overTLS encrypts what dial makes, as the client library does with connections of its own.
func overTLS(dial dialFunc, config *tls.Config) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := config.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(address) // it was dialled
		}
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return encrypted, nil
	}
}

// errHungUp stands for a broker that closes a connection instead of refusing a password.
var errHungUp = errors.New("the broker hung up during authentication")

// errNoHandshake stands for a broker that hangs up on the beginning of a TLS handshake.
var errNoHandshake = errors.New("the broker hung up during the TLS handshake")

// authWatch ends a context when a broker hangs up during authentication: the client would try again
// until the end of its patience.
type authWatch struct{ end context.CancelCauseFunc }

var _ kgo.HookBrokerRead = authWatch{}

func (w authWatch) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil && key == int16(kmsg.SASLAuthenticate) {
		w.end(fmt.Errorf("%w: %w", errHungUp, err))
	}
}

// newStartClient returns a client for checks at a start, and a context for its requests. It logs
// nothing, since its errors come back to the caller; it gives up at once where a password or TLS is
// refused, and at the end of ctx whatever it waits for.
func newStartClient(ctx context.Context, c ClientConfig) (*kgo.Client, context.Context, func(), error) {
	if err := c.check(); err != nil {
		return nil, nil, nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	under := c.Dial
	if under == nil {
		under = new(net.Dialer).DialContext
	}
	dial := func(dctx context.Context, network, address string) (net.Conn, error) {
		conn, err := under(dctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends what waits for an answer
		}
		return conn, err
	}
	if c.TLS != nil {
		encrypted := overTLS(dial, c.TLS)
		dial = func(dctx context.Context, network, address string) (net.Conn, error) {
			conn, err := encrypted(dctx, network, address)
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				end(fmt.Errorf("%w: %w", errNoHandshake, err))
			}
			return conn, err
		}
	}
	c.Log, c.TLS, c.Dial = nil, nil, nil
	client, err := kgo.NewClient(append(clientOptions(c), kgo.WithHooks(authWatch{end}), kgo.Dialer(dial))...)
	if err != nil {
		end(nil)
		return nil, nil, nil, fmt.Errorf("making a client of %v: %w", c.Brokers, err)
	}
	return client, ctx, func() {
		end(nil)
		client.Close()
	}, nil
}

// cause says of an error why the context of a start client ended, if it did.
func cause(ctx context.Context, err error) error {
	why := context.Cause(ctx)
	switch {
	case err == nil, why == nil, errors.Is(err, why):
		return err
	case errors.Is(why, errHungUp), errors.Is(why, errNoHandshake):
		return why
	}
	return fmt.Errorf("%w: %w", why, err)
}

// Hint says what to type about an error that brokers gave at a start, "" if it is none of theirs.
func Hint(c ClientConfig, err error) string {
	var early *kgo.ErrFirstReadEOF
	var mismatch *MismatchError
	says := func(part string) bool { return strings.Contains(err.Error(), part) }
	switch {
	case err == nil, errors.As(err, &mismatch):
		return ""
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, errHungUp):
		return "the user or the password is wrong: set --kafka-user and --kafka-password-file (or another --kafka-sasl)"
	case errors.Is(err, kerr.UnsupportedSaslMechanism), says("sasl mechanism"):
		return "set --kafka-sasl to a mechanism of the brokers'"
	case errors.Is(err, kerr.IllegalSaslState):
		return "leave out --kafka-user where brokers know no users"
	case isCertificate(err):
		return "set --ca-file to the authority of the brokers' certificates, and --brokers to names that stand in them"
	case errors.Is(err, errNoHandshake), isNoTLS(err):
		return "do the brokers speak TLS there? If not, leave out --kafka-tls, or set --brokers to their TLS listener"
	case errors.As(err, &early) && c.SASL == nil && c.TLS == nil:
		return "the brokers may want TLS (set --kafka-tls) or a user (set --kafka-user)"
	case errors.As(err, &early) && c.SASL == nil:
		return "the brokers may want a user: set --kafka-user"
	case errors.As(err, &early), says("tls alert"):
		return "the brokers may want TLS: set --kafka-tls"
	case isUnauthorized(err):
		return "set --kafka-user to one who is allowed: see Security in README.md"
	}
	return "set --brokers"
}

// RegistryHint says what to type about an error that the schema registry gave at a start.
func RegistryHint(err error) string {
	var answer *sr.ResponseError
	switch {
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return "the user or the password is wrong, or may not do this: set --registry-user and --registry-password-file"
	case errors.As(err, &answer) && strings.Contains(err.Error(), "HTTPS"):
		return "set --registry-url to https://"
	case errors.Is(err, http.ErrSchemeMismatch), isNoTLS(err):
		return "it speaks no TLS: set --registry-url to http://"
	case isCertificate(err):
		return "set --ca-file to the authority of its certificate, and --registry-url to a name that stands in it"
	}
	return "set --registry-url (https:// where it speaks TLS)"
}

// IsRefused reports whether the registry at the address answered that it serves no such client, or
// not in this way: waiting mends that no more than asking again.
func IsRefused(err error) bool {
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden || strings.Contains(err.Error(), "HTTPS")
	}
	return errors.Is(err, http.ErrSchemeMismatch) || isNoTLS(err) || isCertificate(err)
}

func isCertificate(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &name)
}

func isNoTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record)
}

func isUnauthorized(err error) bool {
	for _, e := range []error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.ClusterAuthorizationFailed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
