package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// loadTallies is how many tallies the load works on.
const loadTallies = 1000

// load sends commands by Kafka, and does not ask what becomes of them.
type load struct {
	r      *run
	cl     *kgo.Client
	chance *rand.Rand
}

func newLoad(r *run) (*load, error) {
	cl, err := r.stack.Kafka(kgo.MetadataMinAge(20 * time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("making the load's client: %w", err)
	}
	return &load{r: r, cl: cl, chance: r.chance("load")}, nil
}

// command makes one: four of five add, in one to five parts.
func (l *load) command() *kgo.Record {
	return l.commandOf(fmt.Sprintf("t-%d", l.chance.IntN(loadTallies)))
}

func (l *load) commandOf(tally string) *kgo.Record {
	name, body := "Add", fmt.Sprintf(`{"amount":%d,"parts":%d}`, 1+l.chance.IntN(9), 1+l.chance.IntN(5))
	if l.chance.IntN(5) == 0 {
		name, body = "Take", fmt.Sprintf(`{"amount":%d}`, 1+l.chance.IntN(20))
	}
	return &kgo.Record{
		Topic: commandsTopic, Key: []byte(tally), Value: []byte(body),
		Headers: []kgo.RecordHeader{
			{Key: "ce_id", Value: []byte(uuid.Must(uuid.NewV7()).String())}, {Key: "ce_type", Value: []byte("ledgerline.prove." + name)},
			{Key: "content-type", Value: []byte("application/json")},
		},
	}
}

// burst sends n commands as fast as they are taken.
func (l *load) burst(ctx context.Context, n int, command func() *kgo.Record) error {
	const chunk = 20_000
	for ; n > 0; n -= chunk {
		records := make([]*kgo.Record, min(n, chunk))
		for i := range records {
			records[i] = command()
		}
		if err := l.cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("sending commands: %w", err)
		}
	}
	return nil
}

// run sends at the run's rate until ctx ends.
func (l *load) run(ctx context.Context) {
	const turns = 20 // a second
	for pause(ctx, time.Second/turns) {
		for range l.r.cfg.rate / turns {
			l.cl.Produce(context.WithoutCancel(ctx), l.command(), func(_ *kgo.Record, err error) {
				if err != nil {
					l.r.say("sending a command: %v", err)
				}
			})
		}
	}
	if err := l.cl.Flush(context.WithoutCancel(ctx)); err != nil {
		l.r.say("sending commands: %v", err)
	}
}
