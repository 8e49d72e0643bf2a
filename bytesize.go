package ledgerline

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag's number of bytes, written as 256MiB, 1GiB, 64KiB or 1000.
type byteSize int64

var byteUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "BKMGi")
	unit, ok := byteUnits[string(text)[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 1 || n > (1<<50)/unit {
		return fmt.Errorf("want a size like 256MiB or 1GiB, got %q", text)
	}
	*b = byteSize(n * unit)
	return nil
}
