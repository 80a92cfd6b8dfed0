package record_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

func TestCanonicalNumber(t *testing.T) {
	nines := strings.Repeat("9", 38)
	tests := []struct{ text, want string }{
		{"0", "0"}, {"-0", "0"}, {"0.0", "0"}, {"-0.000", "0"}, {"0e5", "0"}, {"0E-999999999999999999999", "0"},
		{"1", "1"}, {"-1", "-1"}, {"10", "10"}, {"1.0", "1"}, {"0.1000", "0.1"}, {"100.100", "100.1"}, {"-12.50", "-12.5"},
		{"1e0", "1"}, {"1e2", "100"}, {"1E+2", "100"}, {"12e-1", "1.2"}, {"0.00012e4", "1.2"}, {"1000e-3", "1"},
		{"9007199254740993", "9007199254740993"}, {"123456789012345", "123456789012345"}, {"1234567890123456", "1234567890123456"},
		{"0.000001", "0.000001"}, {"1e-6", "0.000001"}, {"0.0000001", "1e-7"}, {"1e-7", "1e-7"}, {"12e-8", "1.2e-7"},
		{"100000000000000000000", "100000000000000000000"}, {"1e20", "100000000000000000000"}, {"1e21", "1e+21"}, {"1.5E21", "1.5e+21"},
		{"123456789012345678901", "123456789012345678901"}, {"1234567890123456789012", "1.234567890123456789012e+21"},
		{"0.1234567890123456789012345678901234567", "0.1234567890123456789012345678901234567"},
		{nines, nines[:1] + "." + nines[1:] + "e+37"}, {nines + "0000", nines[:1] + "." + nines[1:] + "e+41"},
		{"-" + nines, "-" + nines[:1] + "." + nines[1:] + "e+37"},
		{"9.99E125", "9.99e+125"}, {"1E-130", "1e-130"}, {"-1E-130", "-1e-130"}, {"0." + strings.Repeat("0", 129) + "1", "1e-130"},
	}
	for _, tt := range tests {
		got, err := record.CanonicalNumber(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("CanonicalNumber(%s) = %s, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestCanonicalNumberRefuses(t *testing.T) {
	for _, text := range []string{
		"1e126", "10e125", "-1e126", "1E400", "1e99999999999999999999", "1e9223372036854775807", "100e9223372036854775807",
		"1e-131", "0.1e-130", "1e-99999999999999999999", "1e-9223372036854775808",
		"1" + strings.Repeat("0", 37) + "1", strings.Repeat("9", 39), "0." + strings.Repeat("1", 39), "1." + strings.Repeat("0", 37) + "1",
	} {
		if got, err := record.CanonicalNumber(text); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("CanonicalNumber(%s) = %q, %v; want %s", text, got, err, fault.ValidationFailed)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]string{"12": "12", "1.50": "1.5", "-0": "0", "1e2": "100"} {
		if got, err := record.ParseNumber(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "1 ", " 1", "01", "+1", ".5", "1.", "1e", "0x1", "NaN", "1,2", "\"1\"", "true", "{}", "1e400", "１"} {
		if got, err := record.ParseNumber(text); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// FuzzCanonicalNumber holds CanonicalNumber against exact rational arithmetic.
func FuzzCanonicalNumber(f *testing.F) {
	for _, text := range []string{"0", "-0", "0.1000", "1e-7", "1E400", "1e21", "1e-130", "9.99e125"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 || !isNumber(text) {
			return
		}
		got, err := record.CanonicalNumber(text)
		value, small := exact(text)
		if err != nil {
			if !errors.Is(err, fault.ValidationFailed) {
				t.Fatalf("%s: %v", text, err)
			}
			if small && inRange(value) {
				t.Fatalf("%s is refused: %v", text, err)
			}
			return
		}
		if !small || !inRange(value) {
			t.Fatalf("%s is accepted as %s", text, got)
		}
		if !isNumber(got) {
			t.Fatalf("%s becomes %s, which is no number", text, got)
		}
		if back, _ := exact(got); back.Cmp(value) != 0 {
			t.Fatalf("%s becomes %s, another value", text, got)
		}
		if again, err := record.CanonicalNumber(got); err != nil || again != got {
			t.Fatalf("%s becomes %s, and that %s, %v", text, got, again, err)
		}
	})
}

func isNumber(text string) bool {
	return text != "" && strings.IndexByte("-0123456789", text[0]) >= 0 && !strings.ContainsAny(text, " \t\r\n") && json.Valid([]byte(text))
}

// exact returns the value of a number, small false where its exponent is too large to compute with.
func exact(text string) (value *big.Rat, small bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if len(strings.TrimLeft(exponent, "+-0")) > 3 { // more than the digits of a text this long make up for
		return new(big.Rat), strings.Trim(mantissa, "-0.") == ""
	}
	value, ok := new(big.Rat).SetString(text)
	return value, ok
}

// inRange reports whether value has at most 38 significant digits and a magnitude that is kept.
func inRange(value *big.Rat) bool {
	if value.Sign() == 0 {
		return true
	}
	// The value as digits × 10^-scale with as few digits as there can be.
	digits, scale := new(big.Int).Abs(value.Num()), 0
	denominator := new(big.Int).Set(value.Denom())
	ten := big.NewInt(10)
	for denominator.Cmp(big.NewInt(1)) != 0 {
		digits.Mul(digits, ten)
		common := new(big.Int).GCD(nil, nil, digits, denominator)
		digits.Div(digits, common)
		denominator.Div(denominator, common)
		scale++
	}
	text := strings.TrimRight(digits.String(), "0")
	magnitude := len(digits.String()) - 1 - scale
	return len(text) <= 38 && magnitude <= 125 && magnitude >= -130
}
