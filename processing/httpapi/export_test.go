package httpapi

// Patterns returns what Register registers, but for what only catches mistakes.
func (c *Commands) Patterns() []string { return c.part().patterns() }

// Patterns is as that of Commands.
func (q *Queries) Patterns() []string { return q.part().patterns() }

func (p part) patterns() (patterns []string) {
	for _, r := range p.routes {
		if r.path[len(r.path)-len(unknownCommand):] != unknownCommand {
			patterns = append(patterns, r.pattern())
		}
	}
	return patterns
}
