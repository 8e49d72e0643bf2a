package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
)

// readerTallies is how many tallies a reader writes to: nobody else does.
const readerTallies = 20

// reader writes by HTTP and asks each of the read models with the position of the answer, or of one before.
func (r *run) reader(ctx context.Context, n int) {
	chance := r.chance(fmt.Sprintf("reader-%d", n))
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	var written [][2]string // a tally and a position in it, of the last writes
	for pause(ctx, time.Duration(chance.IntN(40))*time.Millisecond) {
		tally := fmt.Sprintf("r-%d-%d", n, chance.IntN(readerTallies))
		position := r.write(ctx, client, chance, tally)
		if position == "" {
			continue
		}
		written = append(written, [2]string{tally, position})
		written = written[max(0, len(written)-2*readerTallies):]
		if chance.IntN(2) == 0 { // what was seen once must be seen later, too
			before := written[chance.IntN(len(written))]
			tally, position = before[0], before[1]
		}
		r.query(ctx, client, chance, history.Read{Model: "tally-sums", ID: tally, Tally: tally, Position: position}, "/v1/tallies/"+tally)
		group := groupOf(tally)
		r.query(ctx, client, chance, history.Read{Model: "group-totals", ID: group, Tally: tally, Position: position}, "/v1/groups/"+group)
	}
}

// groupOf is the group of a tally, as package groups says.
func groupOf(tally string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tally)) // it never fails
	return fmt.Sprintf("g-%d", h.Sum32()%50)
}

// write adds to a tally and returns the answer's position, "" if there is none.
func (r *run) write(ctx context.Context, client *http.Client, chance *rand.Rand, tally string) string {
	body := fmt.Appendf(nil, `{"amount":%d,"parts":%d}`, 1+chance.IntN(9), 1+chance.IntN(5))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.ingest.url()+"/v1/tallies/"+tally+"/add", bytes.NewReader(body))
	if err != nil {
		return ""
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.Header.Get("Ledgerline-Position")
}

// query asks a processor of chance and writes down what it said, if it said anything.
func (r *run) query(ctx context.Context, client *http.Client, chance *rand.Rand, read history.Read, path string) {
	k := r.processors[chance.IntN(len(r.processors))]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url()+path, nil)
	if err != nil {
		return
	}
	request.Header.Set("Ledgerline-Position", read.Position)
	read.Processor, read.At = k.name, r.now()
	answer, err := client.Do(request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return
	}
	read.Return, read.Status, read.Body = r.now(), answer.StatusCode, string(body)
	r.out.Read(read)
}
