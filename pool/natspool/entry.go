package natspool

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/pool"
)

const (
	maxNameBytes  = 255  // of a service, and of an address: the longest name of DNS (RFC 1035, section 2.3.4), as a limit for both
	maxValueBytes = 4096 // of an entry
	maxWeight     = 1<<16 - 1
)

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// A value is what the bucket holds for an endpoint.
type value struct {
	pool.Endpoint
	// Registration is a random name, by which a registration knows its own value.
	Registration string `json:"registration,omitempty"`
}

// appendToken appends a name as one token of a subject: every byte but letters, digits, "-" and "_" as "=" and two hexadecimal digits.
// Different names have different tokens.
func appendToken(dst []byte, name string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			dst = append(dst, c)
		default:
			dst = append(dst, '=', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// keyOf returns the key of an address of a service. The address "*" makes the pattern of all of them.
func keyOf(service, address string) string {
	key := append(appendToken(nil, service), '.')
	if address == "*" {
		return string(append(key, '*'))
	}
	return string(appendToken(key, address))
}

func checkService(service string) error {
	if service == "" {
		return errors.New("the name of the service is empty")
	}
	if len(service) > maxNameBytes {
		return fmt.Errorf("the name of the service has %d bytes, more than %d", len(service), maxNameBytes)
	}
	return nil
}

func checkEndpoint(e pool.Endpoint) error {
	if len(e.Address) > maxNameBytes {
		return fmt.Errorf("the address has %d bytes, more than %d", len(e.Address), maxNameBytes)
	}
	if host, port, err := net.SplitHostPort(e.Address); err != nil || host == "" || port == "" {
		return fmt.Errorf("the address %q is not host:port", e.Address)
	}
	if !utf8.ValidString(e.Address) || !utf8.ValidString(e.Zone) || !utf8.ValidString(e.Metadata) {
		return errors.New("the endpoint has text that is not UTF-8, which JSON would change")
	}
	for name, n := range map[string]int{"priority": e.Priority, "weight": e.Weight} {
		if n < -maxWeight || n > maxWeight {
			return fmt.Errorf("the %s %d is not within %d", name, n, maxWeight)
		}
	}
	return nil
}

// marshal returns the bytes of the value. It fails for an endpoint that no reader would take.
func (v value) marshal() ([]byte, error) {
	if err := checkEndpoint(v.Endpoint); err != nil {
		return nil, err
	}
	data, err := json.Marshal(v)
	if err == nil && len(data) > maxValueBytes {
		err = fmt.Errorf("the entry has %d bytes, more than %d: Metadata is too long", len(data), maxValueBytes)
	}
	return data, err
}

// parseValue returns the value of the key of a service.
func parseValue(service, key string, data []byte) (v value, err error) {
	if len(data) > maxValueBytes {
		return value{}, fmt.Errorf("the value has %d bytes, more than %d", len(data), maxValueBytes)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return value{}, err
	}
	if err := checkEndpoint(v.Endpoint); err != nil {
		return value{}, err
	}
	if keyOf(service, v.Address) != key {
		return value{}, fmt.Errorf("the address %q belongs to another key", v.Address)
	}
	return v, nil
}

// shorten makes a key of a stranger fit for a log.
func shorten(key string) string {
	if len(key) > maxNameBytes {
		key = key[:maxNameBytes]
	}
	return strings.ToValidUTF8(key, "?")
}
