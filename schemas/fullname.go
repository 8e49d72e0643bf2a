package schemas

// FullName returns the full name of the schema that a value's type is bound to, "" if it is not bound.
func (c *Codec) FullName(value any) string {
	b, err := c.bindingOf(value)
	if err != nil {
		return ""
	}
	return b.Schema.FullName()
}
