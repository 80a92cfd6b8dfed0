// Package archtest holds the tests that are about the tree itself: which package may import which, what must not compile,
// which parameters exported functions may take, and the house rules. It exports nothing.
package archtest
