package httpapi

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

const (
	root = "/v1/"
	// unknownCommand ends the pattern that catches commands which an aggregate does not have.
	unknownCommand = "/{command}"
)

// registerFallback answers what no pattern below root matches: 405 if another method would match, else
// 404. Commands and Queries may both register on one mux, so the second finds it there.
func registerFallback(mux *http.ServeMux, log *slog.Logger, o *observer) {
	probe := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: root}}
	if _, pattern := mux.Handler(probe); pattern == root {
		return
	}
	mux.Handle(root, o.wrap("any", root, handler(log, func(_ http.ResponseWriter, r *http.Request) error {
		if allowed := methods(mux, r); len(allowed) > 0 {
			allow := strings.Join(allowed, ", ")
			return refuse(http.StatusMethodNotAllowed, "method-not-allowed", "this path takes %s", allow).with("Allow", allow)
		}
		return refuse(http.StatusNotFound, "unknown-resource", "there is nothing at %s", r.URL.Path)
	})))
}

// methods returns those that the path of r takes.
func methods(mux *http.ServeMux, r *http.Request) []string {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		_, pattern := mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host})
		if pattern != root && !strings.HasSuffix(pattern, unknownCommand) {
			allowed = append(allowed, method)
		}
	}
	return allowed
}
