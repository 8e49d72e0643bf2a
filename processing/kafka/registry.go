package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/ledgerline/ledgerline/schemas"
)

// registryTimeout bounds one request, so that a registry that hangs is noticed.
const registryTimeout = 5 * time.Second

// RegistryConfig says where the schema registry is.
type RegistryConfig struct {
	// URL is http or https, with a path if the registry lies below one. User and password in it are
	// sent as basic authentication and appear in no error. Required.
	URL string
	// RootCAs are the authorities whose certificates are trusted. Defaults to the system's.
	RootCAs *x509.CertPool
	// User, if set, is sent as basic authentication with what Password returns at every request, in
	// the place of those in the URL. Defaults to "".
	User     string
	Password func() (string, error)
}

// Registry reads schemas from a schema registry that speaks Confluent's API. It is a
// [schemas.Registry], and is safe for concurrent use.
//
// Every call is one request of at most 5 s and is not repeated: the caller knows how long it may wait
// and what to cache. An error that wraps schemas.ErrNotRegistered is the registry's answer; any other
// means that there was none.
type Registry struct {
	client    *sr.Client
	transport *http.Transport
}

var _ schemas.Registry = (*Registry)(nil)

// NewRegistry returns a registry and makes no request yet.
func NewRegistry(cfg RegistryConfig) (*Registry, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		// Neither the URL nor what is wrong with it is shown: there may be a password in either.
		return nil, errors.New("the schema registry's URL is not valid: set --registry-url to http://host:port or https://user:password@host, with special characters of the password percent-encoded")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // Apicurio 3.3.3 compresses what it answers over HTTP/2 twice
	if cfg.RootCAs != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12}
	}
	opts := []sr.ClientOpt{
		sr.UserAgent("ledgerline"),
		sr.HTTPClient(&http.Client{Transport: transport, Timeout: registryTimeout}),
	}
	if cfg.User != "" {
		opts = append(opts, sr.PreReq(func(request *http.Request) error {
			password, err := cfg.Password()
			if err == nil {
				request.SetBasicAuth(cfg.User, password)
			}
			return err
		}))
	} else if u.User != nil {
		password, _ := u.User.Password()
		opts = append(opts, sr.BasicAuth(u.User.Username(), password))
	}
	u.User = nil
	client, err := sr.NewClient(append(opts, sr.URLs(u.String()))...)
	if err != nil {
		return nil, fmt.Errorf("making a client of the schema registry: %w", err)
	}
	return &Registry{client: client, transport: transport}, nil
}

// Close drops idle connections. Calls under way go on.
func (r *Registry) Close() { r.transport.CloseIdleConnections() }

// SchemaByID returns the text of the schema with that id. A schema that is not Avro is an error.
func (r *Registry) SchemaByID(ctx context.Context, id int) (string, error) {
	schema, err := r.client.SchemaByID(ctx, id)
	if err != nil {
		return "", fmt.Errorf("reading schema %d: %w", id, registryError(err))
	}
	if schema.Type != sr.TypeAvro {
		return "", fmt.Errorf("reading schema %d: want Avro, got %s", id, schema.Type)
	}
	return schema.Schema, nil
}

// SchemaID returns the id that the schema has under the subject. It looks up and never registers.
func (r *Registry) SchemaID(ctx context.Context, subject, text string) (int, error) {
	found, err := r.client.LookupSchema(ctx, subject, sr.Schema{Schema: text})
	if err != nil {
		return 0, fmt.Errorf("looking up schema of subject %s: %w", subject, registryError(err))
	}
	return found.ID, nil
}

// versions returns the schemas of a subject, oldest first, none if it does not exist.
func (r *Registry) versions(ctx context.Context, subject string) ([]string, error) {
	numbers, err := r.client.SubjectVersions(ctx, subject)
	if err := registryError(err); err != nil {
		if errors.Is(err, schemas.ErrNotRegistered) {
			return nil, nil
		}
		return nil, fmt.Errorf("reading versions of subject %s: %w", subject, err)
	}
	texts := make([]string, len(numbers))
	for i, number := range numbers {
		version, err := r.client.SchemaByVersion(ctx, subject, number)
		if err != nil {
			return nil, fmt.Errorf("reading version %d of subject %s: %w", number, subject, err)
		}
		texts[i] = version.Schema.Schema
	}
	return texts, nil
}

// register registers a schema. The registry refuses one that its rules do not allow.
func (r *Registry) register(ctx context.Context, subject, text string) error {
	if _, err := r.client.RegisterSchema(ctx, subject, sr.Schema{Schema: text}, -1, -1); err != nil {
		return fmt.Errorf("registering schema of subject %s: %w", subject, err)
	}
	return nil
}

// compatibility returns the level that a subject itself has, "" for none.
func (r *Registry) compatibility(ctx context.Context, subject string) (string, error) {
	own := sr.WithParams(ctx, sr.RawParams(url.Values{"defaultToGlobal": {"false"}}))
	result := r.client.Compatibility(own, subject)[0]
	if err := registryError(result.Err); err != nil {
		if errors.Is(err, schemas.ErrNotRegistered) {
			return "", nil
		}
		return "", fmt.Errorf("reading compatibility level of subject %s: %w", subject, err)
	}
	return result.Level.String(), nil
}

// Ping asks the registry for something small, to learn whether it answers and serves this client.
func (r *Registry) Ping(ctx context.Context) error {
	if _, err := r.globalCompatibility(ctx); err != nil {
		return fmt.Errorf("asking the schema registry: %w", err)
	}
	return nil
}

// globalCompatibility returns the level of subjects that have none of their own, "" for none.
func (r *Registry) globalCompatibility(ctx context.Context) (string, error) {
	result := r.client.Compatibility(ctx)[0]
	if err := registryError(result.Err); err != nil {
		if errors.Is(err, schemas.ErrNotRegistered) {
			return "", nil
		}
		return "", fmt.Errorf("reading the global compatibility level: %w", err)
	}
	return result.Level.String(), nil
}

// UncheckedError says that the registry takes any schema for a subject, also one that cannot read what
// is written already.
type UncheckedError struct{ Subject string }

func (e *UncheckedError) Error() string {
	return fmt.Sprintf("the schema registry checks nothing for subject %s (compatibility NONE): a schema that cannot read the log would be taken; run: provision apply", e.Subject)
}

// CheckCompatibility returns an *UncheckedError if there is a subject for which the level of its own,
// or else the global one, is NONE.
func (r *Registry) CheckCompatibility(ctx context.Context, subjects ...string) error {
	global := ""
	for _, subject := range subjects {
		level, err := r.compatibility(ctx, subject)
		if err == nil && level == "" {
			if global == "" {
				global, err = r.globalCompatibility(ctx)
			}
			level = global
		}
		if err != nil {
			return err
		}
		if level == sr.CompatNone.String() {
			return &UncheckedError{Subject: subject}
		}
	}
	return nil
}

func (r *Registry) setCompatibility(ctx context.Context, subject, level string) error {
	var set sr.SetCompatibility
	if err := set.Level.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("setting compatibility level of subject %s: %w", subject, err)
	}
	if err := r.client.SetCompatibility(ctx, set, subject)[0].Err; err != nil {
		return fmt.Errorf("setting compatibility level of subject %s to %s: %w", subject, level, err)
	}
	return nil
}

// registryError lets an answer that there is no such thing wrap schemas.ErrNotRegistered. A 404
// without one of the registry's codes comes of something else at that address.
func registryError(err error) error {
	var answer *sr.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		switch answer.SchemaError() {
		case sr.ErrSubjectNotFound, sr.ErrVersionNotFound, sr.ErrSchemaNotFound, sr.ErrSubjectLevelCompatibilityNotConfigured:
			return fmt.Errorf("%w: %w", schemas.ErrNotRegistered, err)
		}
	}
	return err
}

// IsRegistry tells an error of a request to the schema registry from one of the brokers.
func IsRegistry(err error) bool {
	var request *url.Error
	var answer *sr.ResponseError
	return errors.As(err, &request) || errors.As(err, &answer)
}
