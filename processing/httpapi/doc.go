// Package httpapi is the HTTP adapter: commands in, outcomes and read models out.
//
// It owns paths, headers, status codes and problem documents (RFC 9457). It refuses to know how a
// command is appended or a read model is kept: it asks a [processing.Sender] and a [Store]. It knows
// no Avro: a command's body is decoded, and described, by the functions it is given.
//
// GET /openapi.json describes what is registered on the same mux, as OpenAPI 3.1: it is made of the
// list that is registered, of the types that are served and of what aggregates declare. The document's
// types and the schemas of Go types are huma's; huma handles no request.
//
// # Command ids
//
// Idempotency-Key names the command, quoted or bare; [processing.CommandID] makes the command id of it.
// One key sent to two aggregates makes one id, and two commands: an id is looked up together with its
// aggregate. Without a key the server makes a version 7 UUID. A command id, taken from an answer, may
// stand for the key that it was made of: a UUID is its own id.
//
// # ETags
//
// The ETag of an answer to a command is the aggregate's version, "3". That of an answer to a query for one
// document is a hash of the body, behind the version if the document has one: "3-9f86d081884c7d65". So
// If-None-Match is right when another generation shows the same version otherwise. If-Match takes both,
// for the version.
//
// # Problem codes
//
// Besides the refusals of the domain and the failures of the engine (see outcome.go):
//
//	400 invalid-id, invalid-command, invalid-idempotency-key, invalid-precondition,
//	    invalid-command-id, invalid-parameter, invalid-cursor, invalid-position
//	404 unknown-resource, unknown-command, not-found, not-decided-or-unknown
//	405 method-not-allowed        409 in-progress       410 cursor-expired
//	413 too-large                 415 unsupported-media-type
//	422 not-an-integer
//	503 unconfirmed, backlog-full, unavailable,
//	    read-model-rebuilding, read-model-broken, read-model-behind
//
// Every 503 says Retry-After.
package httpapi
