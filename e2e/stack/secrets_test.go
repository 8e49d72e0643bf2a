package stack

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestMakeSecurity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "security")
	s, err := makeSecurity(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, serverFile), filepath.Join(dir, serverFile))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := s.tlsConfig()
	if err != nil {
		t.Fatal(err)
	}
	for host, good := range map[string]bool{"127.0.0.1": true, "localhost": true, "ledgerline.example": false} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: trust.RootCAs}); (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	seen := map[string]string{}
	for _, users := range []map[string]string{s.KafkaUsers, s.RegistryUsers, s.RedisUsers} {
		for user, file := range users {
			secret, err := password(users, user)
			if err != nil || len(secret) < 20 || seen[secret] != "" {
				t.Errorf("%s: a password of %d letters, also of %q, %v", file, len(secret), seen[secret], err)
			}
			seen[secret] = file
		}
	}
	if len(seen) != 8 {
		t.Errorf("there are %d passwords, want 8", len(seen))
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s: it is for its owner alone", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
