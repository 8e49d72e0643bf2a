// Package schemas holds release one's Avro schemas.
package schemas

import "embed"

// FS holds the files of an aggregate in a folder of its name.
//
//go:embed */*.avsc
var FS embed.FS
