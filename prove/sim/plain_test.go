//go:build !synctests

package sim

// simulated says that the Kafka client was not built for simulated time: locks of its own would stop it.
const simulated = false
