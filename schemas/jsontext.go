package schemas

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader walks through text that json.Valid has approved: it need not look for syntax errors.
type jsonReader struct {
	data  []byte
	pos   int
	depth int
}

// next skips white space and returns the first byte of what follows, '0' for any number. It returns 0
// at the end.
func (r *jsonReader) next() byte {
	for ; r.pos < len(r.data); r.pos++ {
		switch c := r.data[r.pos]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		case c == '-' || c >= '0' && c <= '9':
			return '0'
		default:
			return c
		}
	}
	return 0
}

// object calls member for each member of the object that is next, with the reader on its value.
func (r *jsonReader) object(member func(name string) *JSONError) *JSONError {
	r.pos++
	for r.next() != '}' {
		if r.data[r.pos] == ',' {
			r.pos++
			r.next()
		}
		name, fail := r.string()
		if fail != nil {
			return fail
		}
		r.next()
		r.pos++ // the colon
		if fail := member(name); fail != nil {
			return fail
		}
	}
	r.pos++
	return nil
}

// literal skips true, false or null.
func (r *jsonReader) literal() {
	for r.pos < len(r.data) && r.data[r.pos] >= 'a' && r.data[r.pos] <= 'z' {
		r.pos++
	}
}

// number returns the number that is next, as written.
func (r *jsonReader) number() string {
	from := r.pos
	for ; r.pos < len(r.data); r.pos++ {
		switch c := r.data[r.pos]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			continue
		}
		break
	}
	return string(r.data[from:r.pos])
}

// string returns the string that is next. Unlike encoding/json it refuses what is not UTF-8, be it
// written plainly or as half a surrogate pair, rather than replacing it.
func (r *jsonReader) string() (string, *JSONError) {
	from := r.pos + 1
	escaped := false
	for r.pos = from; r.data[r.pos] != '"'; r.pos++ {
		if r.data[r.pos] == '\\' {
			escaped = true
			r.pos++
		}
	}
	raw := r.data[from:r.pos]
	r.pos++
	ok := utf8.Valid(raw)
	if ok && escaped {
		raw, ok = unescape(raw)
	}
	if !ok {
		return "", invalid("text is not valid UTF-8")
	}
	return string(raw), nil
}

var escapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func unescape(raw []byte) ([]byte, bool) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if raw[i] != 'u' {
			if c, ok := escapes[raw[i]]; ok {
				out = append(out, c)
			} else {
				out = append(out, raw[i])
			}
			continue
		}
		c := hex4(raw[i+1:])
		i += 4
		if utf16.IsSurrogate(c) {
			if len(raw) < i+7 || raw[i+1] != '\\' || raw[i+2] != 'u' {
				return nil, false
			}
			if c = utf16.DecodeRune(c, hex4(raw[i+3:])); c == utf8.RuneError {
				return nil, false
			}
			i += 6
		}
		out = utf8.AppendRune(out, c)
	}
	return out, true
}

func hex4(text []byte) rune {
	v, _ := strconv.ParseUint(string(text[:4]), 16, 16) // json.Valid has seen the digits
	return rune(v)
}

// unexpected says what was wanted and what is there.
func (r *jsonReader) unexpected(want string) *JSONError {
	got := map[byte]string{'{': "an object", '[': "an array", '"': "a string", 't': "true", 'f': "false", 'n': "null", '0': "a number"}
	return invalid("want %s, got %s", want, got[r.next()])
}

// quoteName makes a name of the input fit to be shown in a path.
func quoteName(name string) string {
	quoted := strconv.Quote(name)
	if len(name) > 0 && quoted == `"`+name+`"` {
		quoted = name
	}
	return shorten(quoted)
}

// shorten cuts what is quoted from the input to a few words.
func shorten(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	cut := most
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
