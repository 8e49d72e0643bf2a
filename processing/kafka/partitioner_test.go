package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The vectors of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2IsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionOfIsFranzGos(t *testing.T) {
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("order.commands")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key")
		n := rapid.Int32Range(1, 2000).Draw(t, "partitions")
		want := theirs.Partition(&kgo.Record{Key: key}, int(n))
		if got, text := PartitionOf(key, n), PartitionOf(string(key), n); int(got) != want || text != got {
			t.Fatalf("PartitionOf(%q, %d) = %d, as a string %d, want %d", key, n, got, text, want)
		}
	})
}

func TestPartitionOfDoesNotAllocate(t *testing.T) {
	key := []byte("0198c2a4-7f3a-7c11-9d1e-5b0c8f2e4a6d")
	if n := testing.AllocsPerRun(100, func() { PartitionOf(key, 12) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
