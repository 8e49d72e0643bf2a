package stack

import (
	"encoding/base64"

	"github.com/google/uuid"
)

// ClusterID writes a UUID as Kafka writes those of clusters. One that begins with a dash would look like
// a flag to Kafka's tools: a bit of it is not used.
func ClusterID(id uuid.UUID) string {
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}
