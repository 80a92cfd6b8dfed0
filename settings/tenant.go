package settings

import (
	"strings"
	"time"
	_ "time/tzdata" // the zones are known wherever the program runs
	"unicode"

	"golang.org/x/text/language"

	"github.com/tenantry/tenantry/fault"
)

// Tenant are the settings that every tenant has. A struct of the application's own may embed it; see Declare.
type Tenant struct {
	Timezone   string   `json:"timezone" doc:"an IANA time zone, as Asia/Tokyo"`
	Locale     string   `json:"locale" doc:"a BCP 47 language tag, as ja or en-US"`
	DateFormat string   `json:"dateFormat" doc:"YYYY or YY, MMMM, MMM, MM or M, and DD or D, once each, with separators between them"`
	Currency   string   `json:"currency" doc:"an ISO 4217 code, as JPY"`
	Features   Features `json:"features"`
}

// Features are what a tenant may use.
type Features struct {
	ExportEnabled bool `json:"exportEnabled"`
	ImportEnabled bool `json:"importEnabled"`
	APIEnabled    bool `json:"apiEnabled"`
}

// Defaults returns the settings of a tenant that has set none.
func Defaults() Tenant {
	return Tenant{Timezone: "Asia/Tokyo", Locale: "ja", DateFormat: "YYYY-MM-DD", Currency: "JPY",
		Features: Features{ExportEnabled: true, ImportEnabled: true, APIEnabled: true}}
}

// Validate implements Validator.
func (t Tenant) Validate() (problems []fault.Field) {
	for _, member := range []struct{ name, problem string }{
		{"timezone", checkZone(t.Timezone)}, {"locale", checkLocale(t.Locale)}, {"dateFormat", checkDateFormat(t.DateFormat)}, {"currency", checkCurrency(t.Currency)},
	} {
		if member.problem != "" {
			problems = append(problems, fault.Field{Field: member.name, Problem: member.problem})
		}
	}
	return problems
}

// Location returns the time zone. It fails with fault.ValidationFailed for settings that are not valid.
func (t Tenant) Location() (*time.Location, error) {
	if problem := checkZone(t.Timezone); problem != "" {
		return nil, fault.Invalid("settings.Location", fault.Field{Field: "timezone", Problem: problem})
	}
	return time.LoadLocation(t.Timezone)
}

// FormatDate returns the day of a moment in the tenant's time zone, in its date format; names of months are English. It fails with
// fault.ValidationFailed for settings that are not valid.
func (t Tenant) FormatDate(moment time.Time) (string, error) {
	zone, err := t.Location()
	if err != nil {
		return "", err
	}
	layout, problem := dateLayout(t.DateFormat)
	if problem != "" {
		return "", fault.Invalid("settings.FormatDate", fault.Field{Field: "dateFormat", Problem: problem})
	}
	var out strings.Builder
	for _, part := range layout {
		if part.token {
			out.WriteString(moment.In(zone).Format(part.text))
		} else {
			out.WriteString(part.text)
		}
	}
	return out.String(), nil
}

func checkZone(name string) string {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return "is an IANA time zone, as Asia/Tokyo or UTC"
	}
	return ""
}

func checkLocale(tag string) string {
	if _, err := language.Parse(tag); err != nil || strings.Contains(tag, "_") {
		return "is a BCP 47 language tag, as ja or en-US"
	}
	return ""
}

func checkCurrency(code string) string {
	if len(code) != 3 || strings.Contains(code, " ") || !strings.Contains(currencies, " "+code+" ") {
		return "is an ISO 4217 currency code, as JPY"
	}
	return ""
}

// currencies are the codes of ISO 4217 that are in use, those of funds and metals left out.
const currencies = " AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP" +
	" GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN" +
	" NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS" +
	" VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "

func checkDateFormat(format string) string {
	_, problem := dateLayout(format)
	return problem
}

// datePart is a token in the form that package time takes, or text between tokens.
type datePart struct {
	text  string
	token bool
}

// dateTokens are the tokens of date formats, with what they are for package time.
var dateTokens = map[string]string{"YYYY": "2006", "YY": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "DD": "02", "D": "2"}

const dateFormatForm = "holds YYYY or YY, MMMM, MMM, MM or M, and DD or D, once each, with separators that are no Latin letters and digits; at most 32 characters, as YYYY-MM-DD"

// dateLayout returns the parts of a date format, or what is wrong with it.
func dateLayout(format string) (parts []datePart, problem string) {
	runes := []rune(format)
	if len(runes) > 32 {
		return nil, dateFormatForm
	}
	seen := map[rune]bool{}
	for i := 0; i < len(runes); {
		r, from := runes[i], i
		for i < len(runes) && runes[i] == r {
			i++
		}
		text := string(runes[from:i])
		layout, token := dateTokens[text]
		switch {
		case token && !seen[r]:
			seen[r] = true
			parts = append(parts, datePart{layout, true})
		case token, r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)), !unicode.IsPrint(r), r == unicode.ReplacementChar:
			return nil, dateFormatForm
		default:
			parts = append(parts, datePart{text, false})
		}
	}
	if len(seen) != 3 {
		return nil, dateFormatForm
	}
	return parts, ""
}
