package loyalty

// Event is one of PointsEarned, PointsSpent and PointsExpired. Points are positive in each.
type Event interface{ event() }

// PointsEarned says that a member got points.
type PointsEarned struct {
	MemberID string `avro:"member_id"`
	Points   int64  `avro:"points"`
	Reason   string `avro:"reason"`
}

// PointsSpent says that a member used points; there were as many.
type PointsSpent struct {
	MemberID string `avro:"member_id"`
	Points   int64  `avro:"points"`
}

// PointsExpired says that a member lost points; there were as many.
type PointsExpired struct {
	MemberID string `avro:"member_id"`
	Points   int64  `avro:"points"`
}

func (PointsEarned) event()  {}
func (PointsSpent) event()   {}
func (PointsExpired) event() {}
