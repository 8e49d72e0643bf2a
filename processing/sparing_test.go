package processing_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ledgerline/ledgerline/processing"
)

func TestSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		plain := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		log := processing.Sparing(plain)
		other := log.With("partition", 3)
		for range 600 { // a minute, ten times a second
			log.Warn("broker is down", "err", "refused")
			other.Warn("broker is down", "err", "reset") // the same, whatever else is told of it
			log.Warn("model waits", "projection", "a")
			log.Warn("model waits", "projection", "b")
			log.Info("below the level")
			<-time.After(100 * time.Millisecond)
		}
		processing.Sparing(plain).Warn("broker is down") // of a logger of its own
		want := strings.Join([]string{
			`msg="broker is down" err=refused`, `msg="model waits" projection=a`, `msg="model waits" projection=b`,
			`msg="broker is down" err=refused repeated=599`, `msg="model waits" projection=a repeated=299`, `msg="model waits" projection=b repeated=299`,
			`msg="broker is down"`, "",
		}, "\n")
		if got := out.String(); got != want {
			t.Errorf("it said\n%swant\n%s", got, want)
		}
	})
}
