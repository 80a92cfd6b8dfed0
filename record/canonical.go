package record

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Canonical returns a where it is the canonical text of an object or none, and else the Attributes that a parses to: for
// bytes that did not come from this package. It fails as ParseAttributes does.
func (a Attributes) Canonical() (Attributes, error) {
	if len(a) == 0 || isCanonical(a) {
		return a, nil
	}
	return ParseAttributes(a)
}

// isCanonical reports whether text is what ParseAttributes returns for it.
func isCanonical(text []byte) bool {
	c := checker{text: text}
	return len(text) > 0 && text[0] == '{' && c.value(1) && c.at == len(text)
}

// checker walks canonical text. Its methods return false at the first byte that canonical text doesn't have.
type checker struct {
	text []byte
	at   int
}

func (c *checker) take(b byte) bool {
	if c.at < len(c.text) && c.text[c.at] == b {
		c.at++
		return true
	}
	return false
}

func (c *checker) value(depth int) bool {
	if c.at == len(c.text) {
		return false
	}
	switch c.text[c.at] {
	case '{':
		return depth <= MaxDepth && c.object(depth)
	case '[':
		return depth <= MaxDepth && c.list(depth)
	case '"':
		_, ok := c.string()
		return ok
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	default:
		return c.number()
	}
}

func (c *checker) object(depth int) bool {
	c.at++
	if c.take('}') {
		return true
	}
	for before, first := []byte(nil), true; ; first = false {
		name, ok := c.string()
		if !ok || !first && bytes.Compare(name, before) <= 0 || !c.take(':') || !c.value(depth+1) {
			return false
		}
		if !c.take(',') {
			return c.take('}')
		}
		before = name
	}
}

func (c *checker) list(depth int) bool {
	c.at++
	if c.take(']') {
		return true
	}
	for c.value(depth + 1) {
		if !c.take(',') {
			return c.take(']')
		}
	}
	return false
}

// string returns what the string that begins here spells.
func (c *checker) string() ([]byte, bool) {
	start, plain := c.at, true
	if !c.take('"') {
		return nil, false
	}
	text, i := c.text, c.at
	for ; i < len(text) && text[i] != '"'; i++ {
		switch b := text[i]; {
		case b == '\\':
			plain = false
			i++
		case b < ' ':
			return nil, false
		}
	}
	if c.at = i; !c.take('"') {
		return nil, false
	}
	quoted := c.text[start:c.at]
	if plain {
		inner := quoted[1 : len(quoted)-1]
		return inner, utf8.Valid(inner)
	}
	spelt, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return nil, false
	}
	again, err := jsontext.AppendQuote(nil, spelt)
	return spelt, err == nil && bytes.Equal(again, quoted)
}

func (c *checker) literal(word string) bool {
	if !bytes.HasPrefix(c.text[c.at:], []byte(word)) {
		return false
	}
	c.at += len(word)
	return true
}

func (c *checker) number() bool {
	start := c.at
	for c.at < len(c.text) && strings.IndexByte("+-.eE0123456789", c.text[c.at]) >= 0 {
		c.at++
	}
	number := c.text[start:c.at]
	if len(number) <= 15 && plainInteger(string(number)) {
		return true
	}
	text, err := ParseNumber(string(number))
	return err == nil && text == string(number)
}
