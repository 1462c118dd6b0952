package opennebula

import (
	"net/http"
	"time"
)

// ParseDate reads the Date header of an answer of oned, which ends in UTC where
// HTTP, and so http.ParseTime, wants GMT.
func ParseDate(text string) (time.Time, error) {
	if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 UTC", text); err == nil {
		return at, nil
	}
	return http.ParseTime(text)
}
