package native

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProperties(t *testing.T) {
	text, err := Node{
		ID: 2, Port: 20001, ControllerPort: 20002, Voters: "1@127.0.0.1:20000,2@127.0.0.1:20002", Data: "data", Replicas: 3, MinISR: 2,
	}.Properties()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node.id=2", "listeners=PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002", "log.dirs=data",
		"controller.quorum.voters=1@127.0.0.1:20000,2@127.0.0.1:20002", "transaction.state.log.replication.factor=3", "min.insync.replicas=2",
		"add.partitions.to.txn.retry.backoff.ms=1", "add.partitions.to.txn.retry.backoff.max.ms=1000",
	} {
		if !strings.Contains("\n"+string(text), "\n"+want+"\n") {
			t.Errorf("there is no line %s", want)
		}
	}
}

func TestPropertiesSecure(t *testing.T) {
	node := Node{
		ID: 1, Port: 20001, ControllerPort: 20002, Voters: "1@127.0.0.1:20002", Data: "data", Replicas: 1, MinISR: 1,
		Secure: &Secure{KeyStore: "key.pem", TrustStore: "ca.pem", User: "root", Password: "secret"},
	}
	text, err := node.Properties()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listeners=SASL_SSL://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002", "listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:SSL",
		"ssl.keystore.location=key.pem", "ssl.truststore.location=ca.pem", "super.users=User:root", "allow.everyone.if.no.acl.found=false",
		"controller.listener.names=CONTROLLER", "log.dirs=data",
	} {
		if !strings.Contains("\n"+string(text), "\n"+want+"\n") {
			t.Errorf("there is no line %s", want)
		}
	}
	if !strings.Contains(string(text), `required username="root" password="secret";`) || strings.Contains(string(text), "PLAINTEXT") {
		t.Errorf("got:\n%s", text)
	}
}

func TestReadTellsWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if _, err := read(file); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("nothing there: got %v", err)
	}
	complete := ""
	for _, name := range []string{"kafka_libs", "kafka_java", "registry_home", "registry_java", "redis_server"} {
		complete += name + "=" + dir + "\n"
	}
	for text, good := range map[string]bool{complete: true, strings.Replace(complete, dir, filepath.Join(dir, "gone"), 1): false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := read(file)
		if good && (err != nil || i.RedisServer != dir || i.KafkaLibs != dir) {
			t.Errorf("complete: got %+v, %v", i, err)
		}
		if !good && (!errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "kafka_libs")) {
			t.Errorf("jars gone: got %v", err)
		}
	}
}
