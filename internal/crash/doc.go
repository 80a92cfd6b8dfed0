// Package crash holds the proof that an acknowledged command survives the death of its process, in its tests.
//
// A child process publishes with several writers and tells its parent of every command after it was acknowledged. The parent kills
// it with SIGKILL at a random moment, opens the store, and looks for every command that it was told of, for every receipt,
// and for any invariant that doesn't hold. The next child goes on with the same store. So it goes
// with members: no kill leaves half a membership, and a session that was handed out is good. The tests run a part of the long run,
// which sets TENANTRY_LONG_RUN.
package crash
