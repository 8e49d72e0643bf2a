// Package schemas holds the .avsc files of the proofs' aggregate, and nothing else.
package schemas

import "embed"

// FS holds the files of an aggregate in a folder of its name, a file <Type>.avsc per command and event.
//
//go:embed */*.avsc
var FS embed.FS
