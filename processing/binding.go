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
	bound, err := bind(ours[outcome.Name], outcome)
	if err != nil {
		return nil, err
	}
	bindings := []schemas.Binding{bound}
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
				bound, err := bind(s, t)
				if err != nil {
					return nil, fmt.Errorf("aggregate %s: %w", a.Name, err)
				}
				bindings = append(bindings, bound)
				delete(found, t.Name)
			}
		}
		for name := range found {
			return nil, fmt.Errorf("schema %s/%s.avsc belongs to no command or event of %s", a.Name, name, a.Name)
		}
	}
	return bindings, nil
}

// bind ties the versions of a schema to those of a type.
func bind(versions []*schemas.Schema, t Type) (schemas.Binding, error) {
	last := len(versions) - 1
	if last != len(t.Older) {
		return schemas.Binding{}, fmt.Errorf("%s has %d schemas of earlier versions (%s.1.avsc and so on) and %d upcasters: each needs the other", t.Name, last, t.Name, len(t.Older))
	}
	b := schemas.Binding{Version: versionOfType(versions[last], t)}
	for i, step := range t.Older {
		v := versionOfType(versions[i], step.From)
		v.Up = step.Up
		b.Older = append(b.Older, v)
	}
	return b, nil
}

func versionOfType(s *schemas.Schema, t Type) schemas.Version {
	return schemas.Version{Schema: s, Go: t.Go, New: t.New, Value: t.Value}
}
