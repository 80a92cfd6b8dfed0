package events

// SetReplay sets how many changes are looked through for a stream that comes back. It is for use before the first Open.
func (h *Hub) SetReplay(changes int) { h.replay = changes }

// Rooms returns how many tenants have streams.
func (h *Hub) Rooms() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms)
}

// MaxReplays is maxReplays.
const MaxReplays = maxReplays
