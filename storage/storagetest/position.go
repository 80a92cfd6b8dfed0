package storagetest

import (
	"fmt"
	"regexp"

	"github.com/tenantry/tenantry/storage/driver"
)

var number = regexp.MustCompile(`^[1-9][0-9]*$`)

// positionsGrow commits more often than positions of one digit last.
func positionsGrow(s *store) {
	const versions = 12
	for version := int64(1); version <= versions; version++ {
		s.commit(publish("A#acme", "1", version)...)
	}
	changes := s.settled("", versions)
	s.same("the number of changes", len(changes), versions)
	var before driver.Position
	for _, c := range changes {
		if !number.MatchString(string(c.Position)) {
			s.Errorf("the position %q is not a decimal number without leading zeros", c.Position)
		}
		s.same(fmt.Sprintf("how %q compares with the position before it, %q", c.Position, before), c.Position.Compare(before), 1)
		before = c.Position
	}
	s.same("how the end compares with the last change", s.end().Compare(before), 0)
}
