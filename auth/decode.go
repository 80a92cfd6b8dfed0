package auth

import (
	"errors"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The functions of this file read JSON member by member, because what a token says is decided by details that a
// decoder into structs lets pass: null for a string, a name in other letters, an object that isn't one. The decoder
// under them refuses duplicate names, invalid UTF-8 and nesting without end.

var (
	errKind  = errors.New("a JSON value of another kind is expected")
	errRange = errors.New("a number is out of range")
)

// reader makes a function of this file readable by package json, which keeps decoders for the next document.
type reader func(*jsontext.Decoder) error

func (r *reader) UnmarshalJSONFrom(dec *jsontext.Decoder) error { return (*r)(dec) }

// decode runs read over text, which must be one JSON value and nothing after it.
func decode(text []byte, read reader) error { return json.Unmarshal(text, &read) }

// readObject runs member for each member of the next value, which must be an object. Member must consume the value.
func readObject(dec *jsontext.Decoder, member func(name string) error) error {
	if dec.PeekKind() != '{' {
		return errKind
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := member(name.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// readArray runs element before each element of the next value, which must be an array. Element must consume it.
func readArray(dec *jsontext.Decoder, element func() error) error {
	if dec.PeekKind() != '[' {
		return errKind
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// readString returns the next value, which must be a string.
func readString(dec *jsontext.Decoder) (string, error) {
	if dec.PeekKind() != '"' {
		return "", errKind
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	return tok.String(), nil
}

// readDate returns the next value, which must be a NumericDate (RFC 7519): seconds since 1970, up to the year 9999.
func readDate(dec *jsontext.Decoder) (time.Time, error) {
	if dec.PeekKind() != '0' {
		return time.Time{}, errKind
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return time.Time{}, err
	}
	const end = 253402300800 // 10000-01-01
	seconds, err := tok.Float()
	if err != nil || seconds < 0 || seconds >= end {
		return time.Time{}, errRange
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))).UTC(), nil
}
