package codec

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// options are what the tag of a field says.
type options struct {
	name     string // "" means the Go name
	skip     bool
	id       uint32
	def      string // text of default=
	required bool
	copy     bool // cut no text from the slab
	plain    bool // no typed array
	secret   bool // the message is not compressed
	noDedup  bool // the field is not remembered
}

// parseTag reads the `cbor` tag of f, or the name in its `json` tag when there is none. Options it does not know are
// left to the generic form.
func parseTag(f reflect.StructField) (options, error) {
	tag, own := f.Tag.Lookup("cbor")
	if !own {
		tag = f.Tag.Get("json")
	}
	if tag == "-" {
		return options{skip: true}, nil
	}
	name, rest, _ := strings.Cut(tag, ",")
	o := options{name: name}
	if !own {
		return o, nil
	}
	omit := false
	for _, opt := range strings.Split(rest, ",") {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "id":
			id, err := strconv.ParseUint(value, 10, 32)
			if err != nil || id == 0 {
				return o, fmt.Errorf("tag option id=%s is not a number from 1 to 4294967295", value)
			}
			o.id = uint32(id)
		case "default":
			o.def = value
		case "required":
			o.required = true
		case "copy":
			o.copy = true
		case "plain":
			o.plain = true
		case "secret":
			o.secret = true
		case "nodedup":
			o.noDedup = true
		case "omitempty", "omitzero":
			omit = true
		case "keyasint", "toarray":
			return o, fmt.Errorf("tag option %s is not supported: messages are positional already", key)
		}
	}
	if omit && o.required {
		return o, errors.New("tag options required and omitempty contradict each other")
	}
	return o, nil
}

// parseDefault returns the value of type t written as text in a default= option.
func parseDefault(t reflect.Type, text string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	var err error
	switch t.Kind() {
	case reflect.Bool:
		var x bool
		if x, err = strconv.ParseBool(text); err == nil {
			v.SetBool(x)
		}
	case reflect.String:
		v.SetString(text)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t == reflect.TypeFor[time.Duration]() {
			if d, derr := time.ParseDuration(text); derr == nil {
				v.SetInt(int64(d))
				return v, nil
			}
		}
		var x int64
		if x, err = strconv.ParseInt(text, 0, t.Bits()); err == nil {
			v.SetInt(x)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var x uint64
		if x, err = strconv.ParseUint(text, 0, t.Bits()); err == nil {
			v.SetUint(x)
		}
	case reflect.Float32, reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(text, t.Bits()); err == nil {
			v.SetFloat(x)
		}
	default:
		return v, fmt.Errorf("tag option default= is for bools, numbers and strings")
	}
	if err != nil {
		return v, fmt.Errorf("tag option default=%s is no %s", text, t)
	}
	return v, nil
}
