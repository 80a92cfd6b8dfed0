package tenantsync

// SetPageItems has steps of a Service be about n records, so that a few make many pages.
func SetPageItems(s *Service, n int) { s.pageItems = n }
