package main

import "github.com/ledgerline/ledgerline/prove/history"

// tally is what a tally is, as the README of its aggregate says and not as its code does.
type tally struct{ version, sum int64 }

// maxParts is the most events of one Add.
const maxParts = 5

// decide says what becomes of a command, and of the tally.
func (t tally) decide(c *command) (told, tally) {
	refused := func(code string) (told, tally) { return told{history.Refused, code, t.version}, t }
	if c.expected != nil && *c.expected != t.version {
		return refused("version-conflict")
	}
	if c.amount <= 0 {
		return refused("amount-not-positive")
	}
	if c.name == "Take" {
		if c.amount > t.sum {
			return refused("not-enough")
		}
		after := tally{t.version + 1, t.sum - c.amount}
		return told{history.Accepted, "", after.version}, after
	}
	if c.parts < 1 || c.parts > maxParts {
		return refused("bad-parts")
	}
	after := tally{t.version + c.parts, t.sum + c.amount*c.parts}
	return told{history.Accepted, "", after.version}, after
}

// after is the tally after an outcome that is not what it should be: as far as it says itself.
func (t tally) after(o outcome, c *command) tally {
	if o.status != "ACCEPTED" {
		return t
	}
	if c.name == "Take" {
		return tally{o.version, t.sum - c.amount}
	}
	return tally{o.version, t.sum + c.amount*c.parts}
}
