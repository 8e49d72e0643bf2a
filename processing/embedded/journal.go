package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// change is one request that changes the registry.
type change struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body"`
}

// journal is a file of changes, one JSON object a line. Made again in their order they give every
// schema the id that it had, which the records in the topics carry. A nil journal keeps nothing.
type journal struct {
	file *os.File
	err  error // of the first write that failed; after it the file's end is unknown
}

// openJournal opens or creates the file and returns the changes in it. A last line without an end is
// one that a killed process was writing: it was never answered, and is cut off.
func openJournal(path string) (*journal, []change, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening schema journal: %w", err)
	}
	changes, end, err := readChanges(file)
	if err == nil {
		err = file.Truncate(end)
	}
	if err == nil {
		_, err = file.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, nil, fmt.Errorf("reading schema journal %s: %w", path, err)
	}
	return &journal{file: file}, changes, nil
}

// readChanges returns the changes and where the last whole line ends.
func readChanges(file io.Reader) (changes []change, end int64, err error) {
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, 0, err
	}
	for line := 1; ; line++ {
		length := bytes.IndexByte(text[end:], '\n')
		if length < 0 {
			return changes, end, nil
		}
		var c change
		if err := json.Unmarshal(text[end:end+int64(length)], &c); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", line, err)
		}
		changes = append(changes, c)
		end += int64(length) + 1
	}
}

func (j *journal) append(c change) error {
	if j == nil {
		return nil
	}
	if j.err != nil {
		return j.err
	}
	text, err := json.Marshal(c)
	if err == nil {
		_, err = j.file.Write(append(text, '\n'))
	}
	if err != nil {
		j.err = fmt.Errorf("writing schema journal: %w", err)
	}
	return j.err
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
