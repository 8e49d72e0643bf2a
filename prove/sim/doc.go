// Package sim runs both sides of the product in simulated time, one testing/synctest bubble for each seed. It
// writes down what it saw (package history) and judges nothing: that is the checker's.
//
//	TestWrite  the write loop: brokers in memory, workers of the product, plain Kafka clients, and faults at
//	           every request between them
//	TestRead   the read side, in the files read_…: brokers and Redis in memory, a plain writer of events,
//	           processors and rebuild jobs of two code versions, and readers; at the end, Redis is tampered
//	           with for verify to find
//
// It is a test binary: prove/run builds it with the tag synctests, by which the Kafka client swaps its
// mutexes for such that a bubble can see, and runs it with
//
//	PROVE_DIR       where the runs' folders go; without it there is nothing to do
//	SEEDS           how many runs, 100 if it is not set
//	SEED            the seed of each of them, random ones if it is not set. A seed settles what is tried,
//	                not in which order goroutines run: run one again many times
//
// What the processes log lies in the run's folder as log.txt.
package sim
