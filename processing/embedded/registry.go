package embedded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/ledgerline/ledgerline/schemas"
)

const (
	mediaType = "application/vnd.schemaregistry.v1+json"
	maxBody   = 1 << 20
	// The registry's own codes, as Confluent's clients know them.
	codeIncompatible  = 409
	codeInvalidSchema = 42201
	codeStoreError    = 50001
	levelNone         = "NONE"
)

// registry puts a compatibility check and a journal before srfake, which says yes to every schema and
// forgets them all. The check is schemas.Compatible, which takes records only. It speaks to it in HTTP, as everybody does. Every subject is checked
// BACKWARD_TRANSITIVE unless its level is NONE; other levels are stored and make no difference.
type registry struct {
	fake http.Handler

	// mu makes check, journal and change one step. It is held while the journal is written: the
	// journal's order must be the order of the changes, since the ids follow from it.
	mu      sync.Mutex
	journal *journal
}

func newRegistry(dataDir string) (*registry, error) {
	r := &registry{fake: srfake.NewRegistry().Handler()}
	r.call(http.MethodPut, "/config", []byte(`{"compatibility":"BACKWARD_TRANSITIVE"}`))
	if dataDir == "" {
		return r, nil
	}
	journal, changes, err := openJournal(filepath.Join(dataDir, "registry.jsonl"))
	if err != nil {
		return nil, err
	}
	// A change is journalled before it is made, so some of these were refused; they are again.
	for _, c := range changes {
		r.call(c.Method, c.Path, []byte(c.Body))
	}
	r.journal = journal
	return r, nil
}

func (r *registry) close() error { return r.journal.close() }

func (r *registry) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /subjects/{subject}/versions", r.register)
	mux.HandleFunc("POST /compatibility/subjects/{subject}/versions", r.check)
	mux.HandleFunc("POST /compatibility/subjects/{subject}/versions/{version}", r.check)
	// Contexts would be a way past the check.
	mux.HandleFunc("/contexts/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, http.StatusNotFound, "the embedded registry has no contexts")
	})
	mux.HandleFunc("/", r.pass)
	return mux
}

// schemaBody is what of a posted schema matters here.
type schemaBody struct {
	Schema     string `json:"schema"`
	SchemaType string `json:"schemaType"`
}

func (b schemaBody) avro() bool { return b.SchemaType == "" || b.SchemaType == "AVRO" }

func (r *registry) register(w http.ResponseWriter, req *http.Request) {
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	subject := req.PathValue("subject")
	r.mu.Lock()
	defer r.mu.Unlock()

	// What is registered already is answered with its id, unchecked, and changes nothing.
	known, _ := r.call(http.MethodPost, subjectPath(subject), body)
	if known != http.StatusOK {
		var posted schemaBody
		if json.Unmarshal(body, &posted) == nil && posted.avro() {
			if err := schemas.Compatible(posted.Schema); err != nil {
				refuse(w, http.StatusUnprocessableEntity, codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err))
				return
			}
			if err := r.fits(subject, posted.Schema); err != nil {
				refuse(w, http.StatusConflict, codeIncompatible,
					fmt.Sprintf("Schema being registered is incompatible with an earlier schema for subject %q: %v", subject, err))
				return
			}
		}
		if err := r.journal.append(change{Method: req.Method, Path: req.URL.RequestURI(), Body: string(body)}); err != nil {
			refuse(w, http.StatusInternalServerError, codeStoreError, err.Error())
			return
		}
	}
	status, answer := r.call(req.Method, req.URL.RequestURI(), body)
	reply(w, status, answer)
}

// fits checks schema against all versions of subject, if its level wants that.
func (r *registry) fits(subject, schema string) error {
	if r.level(subject) == levelNone {
		return nil
	}
	older, err := r.versions(subject)
	if err != nil {
		return err
	}
	return schemas.Compatible(schema, older...)
}

// check answers whether a schema could be registered, against one version or all of them.
func (r *registry) check(w http.ResponseWriter, req *http.Request) {
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	// The fake finds out whether the body is one; then it says yes.
	status, answer := r.call(req.Method, req.URL.RequestURI(), body)
	var posted schemaBody
	if status != http.StatusOK || json.Unmarshal(body, &posted) != nil || !posted.avro() {
		reply(w, status, answer)
		return
	}
	if err := schemas.Compatible(posted.Schema); err != nil {
		refuse(w, http.StatusUnprocessableEntity, codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err))
		return
	}
	subject := req.PathValue("subject")
	var verdict error
	if version := req.PathValue("version"); version == "" {
		verdict = r.fits(subject, posted.Schema)
	} else {
		status, answer := r.call(http.MethodGet, versionPath(subject, version), nil)
		var older schemaBody
		if status != http.StatusOK || json.Unmarshal(answer, &older) != nil {
			reply(w, status, answer)
			return
		}
		if r.level(subject) != levelNone {
			verdict = schemas.Compatible(posted.Schema, older.Schema)
		}
	}
	result := map[string]any{"is_compatible": verdict == nil}
	if req.URL.Query().Get("verbose") == "true" {
		result["messages"] = []string{}
		if verdict != nil {
			result["messages"] = []string{verdict.Error()}
		}
	}
	text, _ := json.Marshal(result)
	reply(w, http.StatusOK, text)
}

// pass hands on what needs no check. PUT and DELETE change something, the remaining POST looks up.
func (r *registry) pass(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPut && req.Method != http.MethodDelete {
		r.fake.ServeHTTP(w, req)
		return
	}
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.journal.append(change{Method: req.Method, Path: req.URL.RequestURI(), Body: string(body)}); err != nil {
		refuse(w, http.StatusInternalServerError, codeStoreError, err.Error())
		return
	}
	status, answer := r.call(req.Method, req.URL.RequestURI(), body)
	reply(w, status, answer)
}

func (r *registry) level(subject string) string {
	_, answer := r.call(http.MethodGet, "/config/"+url.PathEscape(subject), nil)
	var config struct {
		Level string `json:"compatibilityLevel"`
	}
	if json.Unmarshal(answer, &config) != nil {
		return ""
	}
	return config.Level
}

// versions returns the schemas of subject, oldest first, none if it does not exist.
func (r *registry) versions(subject string) ([]string, error) {
	status, answer := r.call(http.MethodGet, subjectPath(subject)+"/versions", nil)
	if status == http.StatusNotFound {
		return nil, nil
	}
	var numbers []int
	if err := json.Unmarshal(answer, &numbers); err != nil {
		return nil, fmt.Errorf("reading versions of %s: %w", subject, err)
	}
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		_, answer := r.call(http.MethodGet, versionPath(subject, fmt.Sprint(n)), nil)
		var version schemaBody
		if err := json.Unmarshal(answer, &version); err != nil {
			return nil, fmt.Errorf("reading version %d of %s: %w", n, subject, err)
		}
		texts[i] = version.Schema
	}
	return texts, nil
}

// call makes a request to the fake without a connection.
func (r *registry) call(method, path string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return http.StatusBadRequest, nil
	}
	w := httptest.NewRecorder()
	r.fake.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes()
}

func subjectPath(subject string) string { return "/subjects/" + url.PathEscape(subject) }

func versionPath(subject, version string) string {
	return subjectPath(subject) + "/versions/" + url.PathEscape(version)
}

func readBody(w http.ResponseWriter, req *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err == nil {
		return body, true
	}
	status := http.StatusBadRequest
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	refuse(w, status, status, fmt.Sprintf("reading the request: %v", err))
	return nil, false
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	text, _ := json.Marshal(map[string]any{"error_code": code, "message": message})
	reply(w, status, text)
}

func reply(w http.ResponseWriter, status int, answer []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the client has gone: nobody to tell
}
