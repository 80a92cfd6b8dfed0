package members

// Hash names a user code in the keys of what the system keeps.
func Hash(userCode string) string { return hash(userCode) }
