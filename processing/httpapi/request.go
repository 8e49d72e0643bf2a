package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ledgerline/ledgerline/processing"
)

const (
	// maxBody is the longest body of a command in bytes, the write loop's own limit.
	maxBody = 1 << 20
	// leastWait is how long a request that prefers not to wait may take all the same: 202 says that
	// the command is appended, and that takes a moment.
	leastWait = time.Second
)

// commandID returns the command id that the Idempotency-Key stands for, or a new one.
func commandID(h http.Header) (string, error) {
	keys := h.Values("Idempotency-Key")
	if len(keys) == 0 {
		id, err := uuid.NewV7()
		if err != nil {
			return "", fmt.Errorf("making a command id: %w", err)
		}
		return id.String(), nil
	}
	if len(keys) > 1 {
		return "", badKey("want one Idempotency-Key, got %d", len(keys))
	}
	key := strings.TrimSpace(keys[0])
	if strings.HasPrefix(key, `"`) {
		var ok bool
		if key, ok = unquote(key); !ok {
			return "", badKey(`want "…" with only \" and \\ escaped, or the bare key`)
		}
	}
	id, err := processing.CommandID(key)
	if err != nil {
		return "", badKey("%v", err)
	}
	return id, nil
}

func badKey(format string, args ...any) *problem {
	p := refuse(http.StatusBadRequest, "invalid-idempotency-key", format, args...)
	p.Field = "Idempotency-Key"
	return p
}

// parseUUID reads a UUID in its form of 36 characters and returns it in lower case.
func parseUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	id, err := uuid.Parse(s)
	return id.String(), err == nil
}

// unquote reads a string of RFC 9651, section 3.3.3, that has no parameters.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), i == len(s)-1
		case c == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
			c = s[i]
		case c < ' ' || c > '~':
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// expectedVersion reads If-Match and If-None-Match: nil for neither.
func expectedVersion(h http.Header) (*int64, error) {
	match, noneMatch := h.Values("If-Match"), h.Values("If-None-Match")
	switch {
	case len(match) == 0 && len(noneMatch) == 0:
		return nil, nil
	case len(match) > 0 && len(noneMatch) > 0:
		return nil, badPrecondition("If-Match", "want If-Match or If-None-Match, not both")
	case len(noneMatch) > 0:
		if len(noneMatch) > 1 || strings.TrimSpace(noneMatch[0]) != "*" {
			return nil, badPrecondition("If-None-Match", "want *, got %s", strings.Join(noneMatch, ", "))
		}
		return new(int64(0)), nil
	}
	if found := versionTag.FindStringSubmatch(strings.TrimSpace(strings.Join(match, ","))); found != nil {
		if version, err := strconv.ParseInt(found[1], 10, 64); err == nil {
			return &version, nil
		}
	}
	return nil, badPrecondition("If-Match", `want one version, quoted and not weak, like "3", or the ETag of one document, got %s`, strings.Join(match, ", "))
}

// versionTag is the ETag of an answer to a command, the version, or of a query, which has a hash behind it
// that says nothing of the aggregate.
var versionTag = regexp.MustCompile(`^"([1-9][0-9]*)(-[0-9a-f]{16})?"$`)

func badPrecondition(field, format string, args ...any) *problem {
	p := refuse(http.StatusBadRequest, "invalid-precondition", format, args...)
	p.Field = field
	return p
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// preference is what a request prefers (RFC 7240) and what of it is granted.
type preference struct {
	// wait is how long to wait for the outcome; waited says that the request named it.
	wait   time.Duration
	waited bool
	async  bool
}

// preferred reads Prefer. What it cannot read it leaves out, as RFC 7240 asks; of two waits the first counts.
func preferred(h http.Header, most time.Duration) preference {
	p := preference{wait: most}
	for _, item := range strings.Split(strings.Join(h.Values("Prefer"), ","), ",") {
		item, _, _ = strings.Cut(item, ";")
		name, value, _ := strings.Cut(item, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			p.async = true
		case "wait":
			seconds, err := strconv.ParseUint(strings.Trim(value, ` "`), 10, 31)
			if err == nil && !p.waited {
				p.wait, p.waited = min(time.Duration(seconds)*time.Second, most), true
			}
		}
	}
	if p.async && !p.waited {
		p.wait = 0
	}
	p.wait = max(p.wait, min(leastWait, most))
	return p
}

// applied returns the value of Preference-Applied, "" for none. An answer is asynchronous if it comes
// before the outcome.
func (p preference) applied(asynchronous bool) string {
	var granted []string
	if p.async && asynchronous {
		granted = append(granted, "respond-async")
	}
	if p.waited {
		granted = append(granted, fmt.Sprintf("wait=%d", int64(p.wait/time.Second)))
	}
	return strings.Join(granted, ", ")
}

// readBody reads a command's JSON text. No body at all is an empty object.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if given := r.Header.Get("Content-Type"); given != "" {
		media, _, err := mime.ParseMediaType(given)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return nil, refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "want application/json, got %s", given)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(unwrapped(w), r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(http.StatusRequestEntityTooLarge, "too-large", "a command may have %d bytes", maxBody)
	}
	if err != nil {
		return nil, malformed("invalid-command", fmt.Errorf("reading body: %w", err))
	}
	if len(body) == 0 {
		return []byte("{}"), nil
	}
	return body, nil
}

var traceParentForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceParent returns the header if it is one of W3C Trace Context, else "": a broken one is to be ignored.
func traceParent(h http.Header) string {
	if value := h.Get("traceparent"); traceParentForm.MatchString(value) {
		return value
	}
	return ""
}
