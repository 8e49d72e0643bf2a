package processing

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sparingEvery is how often a message is said again.
const sparingEvery = 30 * time.Second

// Sparing returns a logger that says each message once, then at most every 30 s, with how often it was
// not said meanwhile as "repeated". Two messages are one if they have the same text, projection and
// topic, however their other attributes differ: it is for trouble that is met again and again, such as
// a broker that is down, not for what is told of one record. What it has said is kept per call.
func Sparing(log *slog.Logger) *slog.Logger {
	return slog.New(&sparing{Handler: log.Handler(), said: &said{last: map[sparingKey]*saying{}}})
}

type sparing struct {
	slog.Handler
	said *said
}

// said is shared by all loggers made of one.
type said struct {
	mu   sync.Mutex
	last map[sparingKey]*saying
}

type sparingKey struct{ message, projection, topic string }

type saying struct {
	at      time.Time
	skipped int
}

// Handle implements slog.Handler.
func (s *sparing) Handle(ctx context.Context, r slog.Record) error {
	key := sparingKey{message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "projection":
			key.projection = a.Value.String()
		case "topic":
			key.topic = a.Value.String()
		}
		return true
	})
	skipped, say := s.said.take(key)
	if !say {
		return nil
	}
	if skipped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", skipped))
	}
	return s.Handler.Handle(ctx, r)
}

// take reports whether a message is to be said now, and how often it was not.
func (s *said) take(key sparingKey) (skipped int, say bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.last[key]
	switch {
	case l == nil:
		s.last[key] = &saying{at: now}
		return 0, true
	case now.Sub(l.at) < sparingEvery:
		l.skipped++
		return 0, false
	}
	skipped = l.skipped
	l.at, l.skipped = now, 0
	return skipped, true
}

// WithAttrs implements slog.Handler.
func (s *sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sparing{Handler: s.Handler.WithAttrs(attrs), said: s.said}
}

// WithGroup implements slog.Handler.
func (s *sparing) WithGroup(name string) slog.Handler {
	return &sparing{Handler: s.Handler.WithGroup(name), said: s.said}
}
