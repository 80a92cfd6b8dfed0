// Package zero makes zero capabilities, and things that look like them.
package zero

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
)

var current guard.Scope // want `The package variable current begins as the zero guard.Scope`

var _ guard.Scope

type session struct {
	scope  guard.Scope // a field is filled by whoever makes the struct
	scopes []guard.Scope
}

func read(guard.Scope, ...any) error { return nil }

func find(string) (guard.Scope, error) { return guard.Acting(context.Background()) }

func literals() {
	_ = read(guard.Scope{})           // want `guard.Scope\{\} is the zero value, which every operation refuses; obtain a real one from the guard`
	_ = &guard.Scope{}                // want `guard.Scope\{\} is the zero value`
	_ = guard.System{}                // want `guard.System\{\} is the zero value`
	_ = session{scope: guard.Scope{}} // want `guard.Scope\{\} is the zero value`
	_ = []guard.Scope{{}}             // want `guard.Scope\{\} is the zero value`
	_ = new(guard.Scope)              // want `new\(guard.Scope\) points to what is the zero value`
	_ = &auth.Principal{}             // want `auth.Principal\{\} is the zero value`
	_ = auth.ID(0)
	_ = session{}
	_ = []*guard.Scope{{}} // want `guard.Scope\{\} is the zero value`
	_ = new(*guard.Scope)
	_ = []guard.Scope{}
	_ = new(session)
}

func copied(sc guard.Scope) *guard.Scope { return new(sc) }

func compared(sc guard.Scope) bool {
	return sc == (guard.Scope{}) // want `test a Scope or System with its Check method`
}

func refused(err error) (guard.Scope, error) {
	if err != nil {
		return guard.Scope{}, err
	}
	if current.Check() != nil {
		return guard.Scope{}, errors.New("none")
	}
	return guard.Scope{}, nil // want `guard.Scope\{\} is the zero value`
}

func found(ok bool) (guard.Scope, bool) {
	if !ok {
		return guard.Scope{}, false
	}
	return guard.Scope{}, true // want `guard.Scope\{\} is the zero value`
}

func alone() guard.Scope {
	return guard.Scope{} // want `guard.Scope\{\} is the zero value`
}

func named() (sc guard.Scope, err error) {
	sc, err = find("acme")
	return
}

func never() {
	var sc guard.Scope // want `The variable sc of type guard.Scope is never assigned`
	_ = read(sc)
}

func neverAmongTwo() {
	var a, b guard.Scope // want `The variable b of type guard.Scope is never assigned`
	a, _ = find("acme")
	_ = read(a, b)
}

func straight() error {
	var sc guard.Scope
	var err error
	if sc, err = find("acme"); err != nil {
		return err
	}
	return read(sc)
}

func early() {
	var sc guard.Scope
	_ = read(sc) // want `The variable sc may still hold the zero guard.Scope here`
	sc, _ = find("acme")
	_ = read(sc)
}

func bothBranches(which bool) error {
	var sc guard.Scope
	var err error
	if which {
		sc, err = find("acme")
	} else {
		sc, err = find("globex")
	}
	if err != nil {
		return err
	}
	return read(sc)
}

func oneBranch(which bool) error {
	var sc guard.Scope
	if which {
		sc, _ = find("acme")
	}
	return read(sc) // want `The variable sc may still hold the zero guard.Scope here`
}

func panics(which bool) error {
	var sc guard.Scope
	if which {
		sc, _ = find("acme")
	} else {
		panic("which")
	}
	return read(sc)
}

func besideError(which bool) (guard.Scope, error) {
	var sc guard.Scope
	if which {
		return sc, errors.New("none")
	}
	sc, err := find("acme")
	return sc, err
}

func loops(names []string, scopes []guard.Scope) {
	var sc guard.Scope
	for _, sc = range scopes {
		_ = read(sc)
	}
	for _, name := range names {
		var each guard.Scope
		each, _ = find(name)
		_ = read(each)
	}
}

func inLoop(names []string) {
	var sc guard.Scope
	for _, name := range names {
		sc, _ = find(name)
	}
	_ = read(sc) // want `The variable sc may still hold the zero guard.Scope here`
}

func closures(run func(func() error) error) error {
	var sc guard.Scope
	err := run(func() (err error) {
		sc, err = find("acme")
		return err
	})
	if err != nil {
		return err
	}
	return read(sc)
}

func laterRead() {
	var sc guard.Scope
	defer func() { _ = read(sc) }()
	sc, _ = find("acme")
}

func insideLiteral() func() error {
	return func() error {
		var sc guard.Scope // want `The variable sc of type guard.Scope is never assigned`
		return read(sc)
	}
}

func addressTaken(fill func(*guard.Scope)) error {
	var sc guard.Scope
	fill(&sc)
	return read(sc)
}

func methodsTakeTheZero(name string) error {
	var sc guard.Scope
	if sc.Tenant() == name {
		return nil
	}
	sc, _ = find(name)
	return read(sc)
}

func pointer() {
	var sc *guard.Scope // nil, which the compiler's own users look out for
	_ = sc
}
