// Package sim runs the write loop in simulated time: brokers in memory, workers of the product, plain
// Kafka clients, and faults at every request between them, one testing/synctest bubble for each seed. It
// writes down what it saw (package history) and judges nothing: that is the checker's.
//
// It is a test binary: prove/run builds it with the tag synctests, by which the Kafka client swaps its
// mutexes for such that a bubble can see, and runs it with
//
//	PROVE_DIR       where the runs' folders go; without it there is nothing to do
//	SEEDS           how many runs, 100 if it is not set
//	SEED            the seed of each of them, random ones if it is not set. A seed settles what is tried,
//	                not in which order goroutines run: run one again many times
//
// What the workers log lies in the run's folder as log.txt.
package sim
