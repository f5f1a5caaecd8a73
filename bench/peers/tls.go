package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"
)

// newTLSConfigs returns matching configurations for a server at an address and its clients: TLS 1.3, a P-256
// certificate made for this run, full-size records from the start, and no session cache.
func newTLSConfigs(address net.IP) (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("bench: generate key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{address},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("bench: create certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("bench: parse certificate: %w", err)
	}
	server = &tls.Config{
		Certificates:                []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}},
		MinVersion:                  tls.VersionTLS13,
		DynamicRecordSizingDisabled: true,
	}
	return server, clientTLSConfig(leaf), nil
}

// clientTLSConfig returns the configuration of clients of a server with the certificate.
func clientTLSConfig(leaf *x509.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
}
