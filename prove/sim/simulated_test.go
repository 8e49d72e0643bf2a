//go:build synctests

package sim

// simulated says that the Kafka client was built for simulated time.
const simulated = true
