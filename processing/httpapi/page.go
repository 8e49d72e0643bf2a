package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

const (
	defaultLimit = 50
	maxLimit     = 500
)

// page is the body of a list. Next is absent on the last page.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// cursor is the place of a page's last item. Callers see it as opaque text.
type cursor struct {
	// Generation is the one being paged through: another may order or hold other things.
	Generation string `json:"g"`
	// List is which list, so that a cursor of one is not used on another.
	List string `json:"l"`
	// After is the last item's field or id, Sum its sum in a ranked list.
	After string `json:"a"`
	Sum   int64  `json:"s,omitempty"`
}

func (c cursor) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// paging reads limit and cursor; the cursor is nil on the first page.
func paging(query url.Values, list string) (int, *cursor, error) {
	limit := defaultLimit
	if query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return 0, nil, badParameter("limit", "want 1 to %d, got %q", maxLimit, query.Get("limit"))
		}
		limit = n
	}
	if !query.Has("cursor") {
		return limit, nil, nil
	}
	var c cursor
	text, err := base64.RawURLEncoding.DecodeString(query.Get("cursor"))
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil || c.Generation == "" || c.List != list {
		p := refuse(http.StatusBadRequest, "invalid-cursor", "want the next of an earlier page of this list, as it was")
		p.Field = "cursor"
		return 0, nil, p
	}
	return limit, &c, nil
}

func badParameter(name, format string, args ...any) *problem {
	p := refuse(http.StatusBadRequest, "invalid-parameter", format, args...)
	p.Detail = name + ": " + p.Detail
	p.Field = name
	return p
}
