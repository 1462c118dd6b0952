package sim

// request is a call that is being carried out, under the lock.
type request struct {
	// server is the one that was called.
	server     *server
	cloud      *cloud
	tx         *tx
	who        identity
	parameters []value
	// extra is the object that the call made or removed, for its event.
	extra string
}

func (r *request) has(i int) bool { return i < len(r.parameters) }

func (r *request) int(i int) int { return r.intOr(i, 0) }

func (r *request) intOr(i, fallback int) int {
	if r.has(i) {
		return r.parameters[i].number
	}
	return fallback
}

func (r *request) text(i int) string {
	if r.has(i) {
		return r.parameters[i].text
	}
	return ""
}

func (r *request) flag(i int) bool { return r.flagOr(i, false) }

func (r *request) flagOr(i int, fallback bool) bool {
	if r.has(i) {
		return r.parameters[i].number == 1
	}
	return fallback
}

// bits are chmod's nine numbers, behind the session and the id.
func (r *request) bits() (bits [9]int) {
	for n := range bits {
		bits[n] = r.intOr(n+2, -1)
	}
	return bits
}

// page is the start and end of a pool call, at position i and behind.
func (r *request) page(i int) page { return page{r.intOr(i, -1), r.intOr(i+1, -1)} }

func (r *request) userName() string {
	if r.who.user == nil {
		return ""
	}
	return r.who.user.Name
}
