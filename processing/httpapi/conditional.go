package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// show answers a query for one document, or says that it is still what If-None-Match names. Its ETag is
// a hash of the body, behind the document's version if it has one: "3-9f86d081884c7d65". The version
// alone is not enough, since another code version shows the same version otherwise.
func show(w http.ResponseWriter, r *http.Request, log *slog.Logger, version int64, text []byte) {
	sum := sha256.Sum256(text)
	tag := hex.EncodeToString(sum[:8])
	if version > 0 {
		tag = strconv.FormatInt(version, 10) + "-" + tag
	}
	tag = `"` + tag + `"`
	w.Header().Set("ETag", tag)
	if !matches(r.Header, tag) {
		write(w, log, http.StatusOK, "application/json", text)
		return
	}
	w.Header().Set("Cache-Control", cacheControl)
	w.WriteHeader(http.StatusNotModified)
}

// matches reports whether If-None-Match names tag, of something that exists: by * alone, or in a list of
// tags; weak and strong ones compare alike here (RFC 9110, 13.1.2).
func matches(h http.Header, tag string) bool {
	list := strings.Join(h.Values("If-None-Match"), ",")
	if strings.TrimSpace(list) == "*" {
		return true
	}
	// A tag of others may hold a comma, but no quote: none of its parts is a tag of ours.
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimPrefix(strings.Trim(one, " \t"), "W/") == tag {
			return true
		}
	}
	return false
}
