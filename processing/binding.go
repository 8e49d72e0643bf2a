package processing

import (
	"fmt"
	"io/fs"

	"github.com/ledgerline/ledgerline/schemas"
)

// Bindings ties the types of aggregates to their schemas: those of an aggregate lie in the folder of
// its name in fsys, a file <Type>.avsc each. The outcome's own schema comes with package schemas. It
// returns an error that names what is missing, or left over.
func Bindings(fsys fs.FS, aggregates []*Aggregate) ([]schemas.Binding, error) {
	ours, err := schemas.Load(schemas.FS, ".")
	if err != nil {
		return nil, err
	}
	outcome := TypeOf[Outcome]()
	bindings := []schemas.Binding{bind(ours[outcome.Name], outcome)}
	for _, a := range aggregates {
		found, err := schemas.Load(fsys, a.Name)
		if err != nil {
			return nil, fmt.Errorf("aggregate %s needs its schemas in a folder %s/, a file <Type>.avsc for each command and event: %w", a.Name, a.Name, err)
		}
		for _, types := range [][]Type{a.Commands, a.Events} {
			for _, t := range types {
				s, ok := found[t.Name]
				if !ok {
					return nil, fmt.Errorf("aggregate %s has no schema for %s: add %s/%s.avsc", a.Name, t.Name, a.Name, t.Name)
				}
				bindings = append(bindings, bind(s, t))
				delete(found, t.Name)
			}
		}
		for name := range found {
			return nil, fmt.Errorf("schema %s/%s.avsc belongs to no command or event of %s", a.Name, name, a.Name)
		}
	}
	return bindings, nil
}

func bind(s *schemas.Schema, t Type) schemas.Binding {
	return schemas.Binding{Schema: s, Go: t.Go, New: t.New, Value: t.Value}
}
