package ledgerline

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"1": 1, "1000": 1000, "5B": 5, "64KiB": 64 << 10, "256MiB": 256 << 20, "2GiB": 2 << 30} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "MiB", "1 MiB", "1MB", "1.5GiB", "1iB", "99999999999GiB", "0x10", "1GiBMiB"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}
