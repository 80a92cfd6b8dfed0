package record

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

// Limits of numbers, those of DynamoDB.
const (
	maxDigits   = 38
	maxExponent = 125
	minExponent = -130
)

// CanonicalNumber returns the one text of a JSON number that every engine keeps: no trailing zeros, plain digits from
// 1e-6 up to 1e21, otherwise d.ddde±n, as ECMAScript prints numbers (ECMA-262, Number::toString), but exact.
// It fails with fault.ValidationFailed for more than 38 significant digits or a magnitude outside 1E-130…9.99E125.
// The text must be a number by the JSON grammar.
func CanonicalNumber(text string) (string, error) {
	if len(text) <= 15 && plainInteger(text) {
		return text, nil
	}
	rest, negative := strings.CutPrefix(text, "-")
	mantissa, exponentText, hasExponent := cutAny(rest, "eE")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", nil
	}
	// point is the place of the decimal point, counted from the first significant digit.
	point := len(whole) - (len(whole) + len(fraction) - len(digits))
	digits = strings.TrimRight(digits, "0")
	if hasExponent {
		exponent, err := strconv.Atoi(strings.TrimPrefix(exponentText, "+"))
		if err != nil {
			return "", numberOutOfRange()
		}
		point += exponent
	}
	if len(digits) > maxDigits || point-1 > maxExponent || point-1 < minExponent {
		return "", numberOutOfRange()
	}
	var b strings.Builder
	if negative {
		b.WriteByte('-')
	}
	n := len(digits)
	switch {
	case point >= n && point <= 21:
		b.WriteString(digits + strings.Repeat("0", point-n))
	case point > 0 && point <= 21:
		b.WriteString(digits[:point] + "." + digits[point:])
	case point > -6 && point <= 0:
		b.WriteString("0." + strings.Repeat("0", -point) + digits)
	default:
		b.WriteByte(digits[0])
		if n > 1 {
			b.WriteString("." + digits[1:])
		}
		b.WriteByte('e')
		if point > 0 {
			b.WriteByte('+')
		}
		b.WriteString(strconv.Itoa(point - 1))
	}
	return b.String(), nil
}

// plainInteger reports whether text is an integer that is its own canonical form.
func plainInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] == '0' && text != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func numberOutOfRange() error {
	return fault.New(fault.ValidationFailed, "record.CanonicalNumber",
		"a number has more than 38 significant digits or a magnitude outside 1E-130 to 9.99E125; send it as a string")
}

// ParseNumber is CanonicalNumber for any text: what is not a number by the JSON grammar fails with fault.ValidationFailed too.
func ParseNumber(text string) (string, error) {
	if v := jsontext.Value(text); v.Kind() != '0' || !v.IsValid() || strings.ContainsAny(text, " \t\r\n") {
		return "", fault.New(fault.ValidationFailed, "record.ParseNumber", "the text is not a number as JSON writes them")
	}
	return CanonicalNumber(text)
}
