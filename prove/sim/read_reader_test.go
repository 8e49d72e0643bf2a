package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/ledgerline/ledgerline/prove/history"
	"github.com/ledgerline/ledgerline/prove/projection/groups"
)

// reader asks processors for what was written last, with its position.
type reader struct {
	w   *readWorld
	rng *rand.Rand
}

func (w *readWorld) newReader(i int) *reader {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &reader{w: w, rng: rand.New(rand.NewPCG(w.rng.Uint64(), uint64(i)))}
}

func (r *reader) run(ctx context.Context) {
	for pauseCtx(ctx, time.Duration(r.rng.ExpFloat64()*float64(300*time.Millisecond))) {
		running := r.w.running()
		if len(running) == 0 {
			continue
		}
		p, what := running[r.rng.IntN(len(running))], r.w.writer.recent(r.rng)
		group := groups.Of(what.tally)
		switch n := r.rng.IntN(10); {
		case n < 4:
			r.query(p, history.Read{Model: tallySums, ID: what.tally, Tally: what.tally, Position: what.position}, "/v1/tallies/"+what.tally)
		case n < 7:
			r.query(p, history.Read{Model: groupTotals, ID: group, Tally: what.tally, Position: what.position}, "/v1/groups/"+group)
		case n < 9:
			r.walk(p, history.Walk{Tally: what.tally, Position: what.position}, fmt.Sprintf("/v1/groups?sort=-total&of=all&limit=%d", 5+r.rng.IntN(50)))
		default:
			r.walk(p, history.Walk{Group: group, Tally: what.tally, Position: what.position}, "/v1/groups/"+group+"/tallies?limit=1")
		}
	}
}

// get asks a processor. One that is frozen or away answers late, or never: then the status is 0.
func (r *reader) get(p *reading, path, position string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	q := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	q.Header.Set("Ledgerline-Position", position)
	answer := httptest.NewRecorder()
	p.http.ServeHTTP(answer, q)
	if p.redis.gateUntil(ctx) != nil {
		return 0, ""
	}
	return answer.Code, answer.Body.String()
}

// query writes down what a query was answered, if it was.
func (r *reader) query(p *reading, read history.Read, path string) {
	read.Processor, read.At = p.name, r.w.at()
	read.Status, read.Body = r.get(p, path, read.Position)
	if read.Return = r.w.at(); read.Status != 0 {
		r.w.hist.Read(read)
	}
}

// walk reads a list from page to page, each from a processor of chance.
func (r *reader) walk(p *reading, walk history.Walk, path string) {
	walk.Processor, walk.At = p.name, r.w.at()
	next := ""
	for !walk.Ended {
		status, body := r.get(p, path+next, walk.Position)
		var page struct {
			Next string `json:"next"`
		}
		if status != http.StatusOK || json.Unmarshal([]byte(body), &page) != nil {
			break
		}
		walk.Pages = append(walk.Pages, body)
		walk.Ended = page.Next == ""
		next = "&cursor=" + page.Next
		if running := r.w.running(); len(running) > 0 {
			p = running[r.rng.IntN(len(running))]
		}
		pause(time.Duration(r.rng.ExpFloat64() * float64(100*time.Millisecond)))
	}
	walk.Return = r.w.at()
	r.w.hist.Walk(walk)
}
