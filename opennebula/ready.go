package opennebula

import "strings"

// isYes reads a template's yes: in any case, with blanks and quotes around it.
func isYes(value string) bool {
	return strings.EqualFold(strings.Trim(value, " \t\r\n\"'"), "YES")
}
