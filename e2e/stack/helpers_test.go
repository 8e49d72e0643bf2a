package stack_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ledgerline/ledgerline/e2e/stack"
)

func endOffset(ctx context.Context, t *testing.T, s *stack.Stack) int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "stack-probe")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("stack-probe", 0)
	return end.Offset
}

// register registers a schema, and returns its id, or the HTTP status as a negative number.
func register(ctx context.Context, t *testing.T, url, schema string) int {
	t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/subjects/a/versions", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return -answer.StatusCode
	}
	var registered struct{ ID int }
	if err := json.NewDecoder(answer.Body).Decode(&registered); err != nil {
		t.Fatal(err)
	}
	return registered.ID
}

func listening(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// orphanVariable makes this test's program start a stack, tell where it is, and wait to be killed.
const orphanVariable = "STACK_TEST_ORPHAN"

func orphan() {
	s, err := stack.Start(context.Background(), stack.Config{Provider: stack.Native, Dir: os.Getenv(orphanVariable)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(strings.TrimPrefix(s.RedisURL, "redis://"), s.Brokers[0])
	select {}
}

// TestNativeDiesWithTheTest kills a process that runs a stack.
func TestNativeDiesWithTheTest(t *testing.T) {
	requireNative(t)
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("only Linux ends the children of a killed process")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), orphanVariable+"="+t.TempDir())
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	lines.Scan()
	addresses := strings.Fields(lines.Text())
	if len(addresses) != 2 || !listening(addresses[0]) || !listening(addresses[1]) {
		t.Errorf("it said %q", lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it was
	err = stack.Await(bounded(t, 10*time.Second), "the end of all", nil, func(context.Context) error {
		for _, a := range addresses {
			if listening(a) {
				return fmt.Errorf("somebody still listens on %s", a)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
