package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// serverFile holds the key and the certificate of all services, beside caFile.
	serverFile = "server.pem"
	// validity is how long a stack's certificates are good, and a stack with them.
	validity = 30 * 24 * time.Hour
)

// secretUsers are the users that a native stack has.
var secretUsers = map[string][]string{
	"kafka":    {Admin, "ingest", "processor", "rebuild"},
	"registry": {Admin, "ledgerline"},
	"redis":    {Admin, "ledgerline"},
}

// makeSecurity fills a new folder with certificates and with a password for every user. The key that
// signs is kept nowhere.
func makeSecurity(dir string) (*Security, error) {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = writeCertificates(dir)
	}
	for service, users := range secretUsers {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, service), 0o700))
		for _, user := range users {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, service, user), []byte(rand.Text()+"\n"), 0o600))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("making the secrets of the stack: %w", err)
	}
	return ReadSecurity(dir)
}

// writeCertificates writes caFile and serverFile. The server's certificate is good for this machine's
// loopback, and for the broker to prove to its controller that it is Admin.
func writeCertificates(dir string) error {
	began := time.Now().Add(-time.Hour) // a clock may be set back
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Ledgerline test stack"},
		NotBefore: began, NotAfter: began.Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: Admin},
		NotBefore: began, NotAfter: began.Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	caText, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	serverText, err := x509.CreateCertificate(rand.Reader, server, ca, serverKey.Public(), caKey)
	if err != nil {
		return err
	}
	keyText, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, caFile), &pem.Block{Type: "CERTIFICATE", Bytes: caText}),
		writePEM(filepath.Join(dir, serverFile), &pem.Block{Type: "PRIVATE KEY", Bytes: keyText}, &pem.Block{Type: "CERTIFICATE", Bytes: serverText}),
	)
}

func writePEM(file string, blocks ...*pem.Block) error {
	var text []byte
	for _, b := range blocks {
		text = append(text, pem.EncodeToMemory(b)...)
	}
	return os.WriteFile(file, text, 0o600)
}
