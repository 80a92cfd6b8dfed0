package auth

import "github.com/go-json-experiment/json"

// Remembered returns how many verified tokens v remembers.
func Remembered(v *Verifier) int {
	v.seen.CleanUp()
	return v.seen.EstimatedSize()
}

// OpenSealedAs opens a row of a SecretStore as that of a name.
func OpenSealedAs(name string, master MasterKey, text []byte, version int64) error {
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	_, err := master.open(name, version, s)
	return err
}
