package shm

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// offerBytes is the length of an offer: version (1), nonce (16), hash of the boot (16), socket (16).
const offerBytes = 1 + 3*16

const version = 1

// An offer is what a listener lets a client know over a connection of theirs. It names the socket by a number and not by a
// path, so that no offer makes a client talk to anything else.
type offer struct {
	nonce  [16]byte
	boot   [16]byte // hash of the boot of this host and nonce: a filter, and no secret
	socket [16]byte
}

func (o *offer) append(dst []byte) []byte {
	dst = append(append(dst, version), o.nonce[:]...)
	return append(append(dst, o.boot[:]...), o.socket[:]...)
}

func parseOffer(b []byte) (o offer, err error) {
	if len(b) != offerBytes {
		return o, fmt.Errorf("%w: %d bytes, must be %d", ErrOffer, len(b), offerBytes)
	}
	if b[0] != version {
		return o, fmt.Errorf("%w: version %d is not known", ErrOffer, b[0])
	}
	copy(o.nonce[:], b[1:])
	copy(o.boot[:], b[17:])
	copy(o.socket[:], b[33:])
	return o, nil
}

// bootHash identifies a boot of a host to whoever knows it.
func bootHash(bootID []byte, nonce [16]byte) (h [16]byte) {
	sum := sha256.Sum256(append(nonce[:], bytes.TrimSpace(bootID)...))
	copy(h[:], sum[:])
	return h
}

// socketName is the abstract name of a socket without its @, and the name of its file.
func socketName(socket [16]byte) string { return "mycel-" + hex.EncodeToString(socket[:]) }

// exporterLabel is the label of RFC 5705 for the secret that both ends prove to have.
const exporterLabel = "EXPORTER-mycel-shared-memory"

const proofBytes = sha256.Size

// The roles in which a proof is given, so that nobody's proof is sent back to them.
const (
	roleClient = "client"
	roleServer = "server"
)

// proof shows possession of the secret of a connection.
func proof(secret []byte, role string, o *offer) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(role))
	m.Write(o.nonce[:])
	m.Write(o.socket[:])
	return m.Sum(nil)
}

func secretOf(b Binding, o *offer) ([]byte, error) {
	secret, err := b.ExportKeyingMaterial(exporterLabel, o.nonce[:], 32)
	if err != nil {
		return nil, fmt.Errorf("shm: the secret of the connection: %w", err)
	}
	return secret, nil
}
