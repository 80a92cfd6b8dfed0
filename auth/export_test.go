package auth

// Remembered returns how many verified tokens v remembers.
func Remembered(v *Verifier) int {
	v.seen.CleanUp()
	return v.seen.EstimatedSize()
}
