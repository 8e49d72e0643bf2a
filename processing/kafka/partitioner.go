package kafka

// PartitionOf returns the partition in which a record with that key belongs, of partitions, which
// must be positive. It is what Kafka's Java producer and franz-go compute: the low 31 bits of murmur2
// of the key, modulo partitions. It does not allocate.
func PartitionOf[K string | []byte](key K, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2, with its seed.
func murmur2[K string | []byte](key K) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(key))
	i := 0
	for ; len(key)-i >= 4; i += 4 {
		k := uint32(key[i]) | uint32(key[i+1])<<8 | uint32(key[i+2])<<16 | uint32(key[i+3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	if i < len(key) {
		for shift := 0; i < len(key); i, shift = i+1, shift+8 {
			h ^= uint32(key[i]) << shift
		}
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
