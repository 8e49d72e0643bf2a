package processing

import (
	"fmt"
	"time"
)

// MaxClockOff is how far the clock of a worker's host may be off that of a service, beyond what it took to
// ask.
const MaxClockOff = 30 * time.Second

// ClockError says that a host's clock cannot be relied on: what is decided by it would have a wrong time, and
// ids would be forgotten too early or refused.
type ClockError struct {
	// Service is whose clock it was compared with, By how far it is ahead of that, negative if it is behind.
	Service string
	By      time.Duration
}

func (e *ClockError) Error() string {
	by, where := e.By, "ahead of"
	if by < 0 {
		by, where = -by, "behind"
	}
	return fmt.Sprintf("the clock of this host is %s %s that of %s, more than %s: nothing is decided; set it right (timedatectl set-ntp true, or chronyc makestep), or that one", by.Round(time.Second), where, e.Service, MaxClockOff)
}

// CheckClock compares the host's clock with a service's, which was theirs at some time between from and to by
// the host's. It returns a *ClockError if they are more than [MaxClockOff] apart.
func CheckClock(service string, theirs, from, to time.Time) error {
	from, to = from.Round(0), to.Round(0) // without what only this process can compare
	switch {
	case from.Sub(theirs) > MaxClockOff:
		return &ClockError{Service: service, By: from.Sub(theirs)}
	case theirs.Sub(to) > MaxClockOff:
		return &ClockError{Service: service, By: to.Sub(theirs)}
	}
	return nil
}
