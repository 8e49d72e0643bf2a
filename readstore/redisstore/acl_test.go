package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/redisstore"
)

// ruleInReadme returns the rule that README.md tells operators to give the product's user.
func ruleInReadme(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^ACL SETUSER ledgerline (.*)$`).FindStringSubmatch(string(text))
	if found == nil {
		t.Fatal("README.md has no line that begins with ACL SETUSER ledgerline")
	}
	return strings.Fields(found[1])
}

// workOut makes every kind of request that the store makes. It stops at the first that is refused.
func workOut(ctx context.Context, s *redisstore.Store) error {
	if err := s.Check(ctx); err != nil {
		return err
	}
	for i := range int64(2) {
		results, err := s.Apply(ctx, []readstore.Write{write(i)})
		if err != nil {
			return err
		}
		if !results[0].Applied {
			return fmt.Errorf("write %d: %+v", i, results[0])
		}
	}
	_, _, err := s.Load(ctx, bucket, []string{"o-1"})
	if err == nil {
		_, _, err = s.Parked(ctx, bucket)
	}
	if err == nil {
		_, _, err = s.Sums(ctx, bucket, "c-1")
	}
	if err == nil {
		_, _, err = s.Entries(ctx, bucket, "c-1", "", 10)
	}
	if err == nil {
		_, _, err = s.Ranked(ctx, bucket, "gbp", &readstore.Rank{ID: "c-2", Sum: 200}, 10)
	}
	if err == nil {
		_, err = s.Inspect(ctx, bucket)
	}
	g := readstore.Generation{ID: bucket.Generation, Model: bucket.Model, State: readstore.Ready, Buckets: 16}
	for _, active := range []string{g.ID, ""} {
		var c readstore.Catalog
		if err == nil {
			c, err = s.Catalog(ctx, bucket.Model)
		}
		if err == nil {
			err = s.UpdateCatalog(ctx, bucket.Model, readstore.Catalog{Revision: c.Revision, Active: active, Generations: map[string]readstore.Generation{g.ID: g}})
		}
	}
	if err == nil {
		err = s.Drop(ctx, g)
	}
	return err
}

// TestReadmeRuleIsEnough gives a user on a real Redis the rule of README.md: everything can be done,
// and without any one command of it something is refused.
func TestReadmeRuleIsEnough(t *testing.T) {
	rule := ruleInReadme(t)
	for i, word := range rule {
		if strings.HasPrefix(word, ">") {
			rule[i] = ">" + "s3cret"
		}
	}
	for name, start := range map[string]func() string{
		"server":  func() string { return "unix://" + startRedis(t, "--port", "0") },
		"cluster": func() string { address := startCluster(t); return "redis://" + address + "?addr=" + address },
	} {
		t.Run(name, func(t *testing.T) {
			rule := rule
			if name == "cluster" {
				rule = append(append([]string{}, rule...), "+cluster|slots", "+command")
			}
			address := start()
			_, admin := open(t, address, "")
			// refused returns what the user was refused in doing everything with a rule.
			refused := func(rule ...string) string {
				t.Helper()
				ctx := t.Context()
				args := []any{"ACL", "SETUSER", "ledgerline", "reset"}
				for _, word := range rule {
					args = append(args, word)
				}
				for _, command := range [][]any{args, {"ACL", "LOG", "RESET"}, {"SCRIPT", "FLUSH"}, {"FLUSHALL"}} {
					if err := admin.Do(ctx, command...).Err(); err != nil {
						t.Fatalf("%v: %v", command, err)
					}
				}
				client, err := redisstore.NewClient(redisstore.ClientConfig{URL: address, User: "ledgerline", Password: func() (string, error) { return "s3cret", nil }})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				s, err := redisstore.New(redisstore.Config{Client: client})
				if err != nil {
					t.Fatal(err)
				}
				failed := workOut(ctx, s)
				log, err := admin.Do(ctx, "ACL", "LOG").Slice()
				if err != nil {
					t.Fatal(err)
				}
				if failed != nil && len(log) == 0 {
					t.Fatalf("not for want of a right: %v", failed)
				}
				if len(log) > 0 {
					return fmt.Sprint(log[0], failed)
				}
				return ""
			}
			if denied := refused(rule...); denied != "" {
				t.Fatalf("the rule of README.md is not enough: %s", denied)
			}
			for _, word := range rule {
				command, ok := strings.CutPrefix(word, "+")
				if !ok {
					continue
				}
				without := append(append([]string{}, rule...), "-"+command)
				if refused(without...) == "" {
					t.Errorf("nothing misses %s: it is one right too many", command)
				}
			}
			if denied := refused(append(append([]string{}, rule...), "resetkeys", "~other:*")...); denied == "" {
				t.Error("keys of others are not kept from the user")
			}
		})
	}
}

// TestPasswordIsAskedAnew changes the user's password while a client runs.
func TestPasswordIsAskedAnew(t *testing.T) {
	address := "unix://" + startRedis(t, "--port", "0")
	_, admin := open(t, address, "")
	set := func(password string) {
		t.Helper()
		if err := admin.Do(t.Context(), "ACL", "SETUSER", "ledgerline", "reset", "on", ">"+password, "~*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
		if err := admin.Do(t.Context(), "CLIENT", "KILL", "USER", "ledgerline", "SKIPME", "yes").Err(); err != nil && !strings.Contains(err.Error(), "No such") {
			t.Fatal(err)
		}
	}
	password := "first"
	client, err := redisstore.NewClient(redisstore.ClientConfig{URL: address, User: "ledgerline", Password: func() (string, error) { return password, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	set("first")
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	set("second")
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Fatal("the old password still holds")
	}
	password = "second"
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("with the new password: %v", err)
	}
}
