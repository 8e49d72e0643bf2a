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
// have passed before it reads what the brokers said, or was never told. If it took the slot back from its replacement, that
// would be fenced in turn, and so on.
func (w *Worker) checkSlot(ctx context.Context) error {
	if w.member.id == "" {
		return nil
	}
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation, q.InstanceID = w.cfg.Group, w.member.id, w.member.generation, &w.cfg.Slot
	var answer *kmsg.HeartbeatResponse
	err := w.ask(func(cl *kgo.Client) (err error) {
		answer, err = q.RequestWith(ctx, cl)
		return err
	})
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
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
	var answer *kmsg.LeaveGroupResponse
	err := w.ask(func(cl *kgo.Client) (err error) {
		answer, err = q.RequestWith(ctx, cl)
		return err
	})
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	for i := 0; err == nil && i < len(answer.Members); i++ {
		err = kerr.ErrorForCode(answer.Members[i].ErrorCode)
	}
	w.member = member{}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		w.cfg.Log.WarnContext(ctx, "worker could not leave its group: its partitions wait for the session timeout", "err", err)
	}
}

// ask has a client of its own for one request.
func (w *Worker) ask(request func(*kgo.Client) error) error {
	cl, err := kgo.NewClient(clientOptions(w.cfg.Client)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	return request(cl)
}

// isFenced reports whether err means that another process has the worker's slot.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.FencedInstanceID)
}
