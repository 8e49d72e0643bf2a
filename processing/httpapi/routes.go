package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ledgerline/ledgerline/processing"
)

// route is one way in. What is registered and what is described are made of one list of them.
type route struct {
	method, path string
	handle       func(http.ResponseWriter, *http.Request) error
	// describe returns what the API's description says of the route; nil for one that only catches
	// mistakes.
	describe func(*document) (*huma.Operation, error)
}

func (r route) pattern() string { return r.method + " " + r.path }

// register adds routes to mux, and to the description of what else is there.
func register(mux *http.ServeMux, log *slog.Logger, o *observer, p part) {
	often := processing.Sparing(log)
	for _, r := range p.routes {
		mux.Handle(r.pattern(), o.wrap(r.method, r.path, handler(often, r.handle)))
	}
	descriptionOn(mux, log).add(p)
	registerFallback(mux, often, o)
}
