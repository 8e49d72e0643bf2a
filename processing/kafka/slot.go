package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is the worker's membership of its group when the last session ended; its id is "" if it had none,
// or once the group was asked about it.
type member struct {
	id         string
	generation int32
}

// checkSlot asks the group whether the slot is still the worker's, once a session has ended. A session may
// end for another reason than the one that counts: after the process has stood still, say, its deadlines
// have passed before it reads what the brokers said. If it took the slot back from its replacement, that
// would be fenced in turn, and so on. Its error is one of isFenced, or that nobody can tell.
func (w *Worker) checkSlot(ctx context.Context) error {
	if w.member.id == "" {
		return nil
	}
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation, q.InstanceID = w.cfg.Group, w.member.id, w.member.generation, &w.cfg.Slot
	answer, err := w.ask(ctx, q)
	if err == nil {
		err = kerr.ErrorForCode(answer.(*kmsg.HeartbeatResponse).ErrorCode)
	}
	switch {
	case err == nil, errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.RebalanceInProgress):
		w.member = member{}
		return nil
	}
	return fmt.Errorf("asking group %s whether slot %s is still this process's: %w", w.cfg.Group, w.cfg.Slot, err)
}

// leave gives the slot's partitions to the other workers at once, which closing a static member does not,
// unless another process has taken it since.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID, m.Reason = w.member.id, &w.cfg.Slot, kmsg.StringPtr("shutting down")
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Group, q.Members = w.cfg.Group, append(q.Members, m)
	answer, err := w.ask(ctx, q)
	if err == nil {
		left := answer.(*kmsg.LeaveGroupResponse)
		err = kerr.ErrorForCode(left.ErrorCode)
		for i := 0; err == nil && i < len(left.Members); i++ {
			err = kerr.ErrorForCode(left.Members[i].ErrorCode)
		}
	}
	w.member = member{}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		w.cfg.Log.WarnContext(ctx, "worker could not leave its group: its partitions wait for the session timeout", "err", err)
	}
}

// ask has a client of its own for one request.
func (w *Worker) ask(ctx context.Context, q kmsg.Request) (kmsg.Response, error) {
	cl, err := kgo.NewClient(clientOptions(w.cfg.Client)...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.Request(ctx, q)
}

// isFenced reports whether err means that another process has the worker's slot.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.FencedInstanceID)
}
