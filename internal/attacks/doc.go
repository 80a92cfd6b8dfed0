// Package attacks plays the attack matrix against a server over real connections: each case is a subtest named by its ID, with the
// honest request beside the hostile ones, and what must hold of every answer is checked on every answer. docs/attacks.md says which
// test covers which ID. It exports nothing.
package attacks
