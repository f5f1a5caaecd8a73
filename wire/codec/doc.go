// Package codec turns Go values into CBOR and back by plans that are compiled once per type.
package codec
