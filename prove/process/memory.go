package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// PeakRSS returns the most resident memory that a process has had, in bytes, as Linux tells it.
func PeakRSS(pid int) (int64, error) {
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading a process's memory: %w", err)
	}
	defer status.Close()
	kilobytes, err := Figure(status, "VmHWM:")
	return int64(kilobytes) << 10, err
}

// Figure returns the number that follows a name at the beginning of a line.
func Figure(text io.Reader, name string) (float64, error) {
	for lines := bufio.NewScanner(text); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			n, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return 0, fmt.Errorf("reading %s: %w", name, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("there is no %s: %w", name, os.ErrNotExist)
}
