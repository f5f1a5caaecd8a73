package framework

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"
)

// devTLSValidity is how long the certificate of a DevTLS pair is valid.
const devTLSValidity = 24 * time.Hour

// DevTLS returns a matching pair of TLS configurations for tests and first steps: the server has a fresh
// self-signed certificate for localhost, 127.0.0.1 and ::1, and the client trusts that certificate and no other.
// The key (ECDSA, P-256) exists only in memory and the certificate is valid for 24 hours, so the pair is of use in
// one process, or between processes that hand the certificate on. Connections are verified as in production,
// with TLS 1.3.
//
// Both results belong to the caller.
func DevTLS() (server, client *tls.Config) {
	cert, err := selfSigned(time.Now())
	if err != nil {
		panic("framework: development certificate: " + err.Error()) // random numbers do not fail, the template is ours
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	client = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	return server, client
}

// selfSigned returns a certificate and its key, valid from an hour before now.
func selfSigned(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "mycel development"},
		NotBefore:             now.Add(-time.Hour), // clocks of two processes may differ
		NotAfter:              now.Add(devTLSValidity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
