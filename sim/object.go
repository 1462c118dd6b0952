package sim

import (
	"strings"
	"time"
)

// object is what every pool object of oned has.
type object struct {
	ID          int         `json:"id"`
	UID         int         `json:"uid"`
	GID         int         `json:"gid"`
	UName       string      `json:"uname"`
	GName       string      `json:"gname"`
	Name        string      `json:"name"`
	Permissions permissions `json:"permissions"`
}

// permissions are nine bits, owner group other by USE MANAGE ADMIN: 0o640.
type permissions uint16

const (
	// ownerOnly is what new objects get: oned's umask 177.
	ownerOnly permissions = 0o600
	// readableByAll lets every user use an object.
	readableByAll permissions = 0o644
)

var permissionNames = [9]string{
	"OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A",
}

func (p permissions) write(b *xmlWriter) {
	open(b, "PERMISSIONS")
	for i, name := range permissionNames {
		number(b, name, int(p>>(8-i))&1)
	}
	shut(b, "PERMISSIONS")
}

// changed is chmod: nine numbers, 1 sets, 0 clears, anything else leaves.
func (p permissions) changed(bits [9]int) permissions {
	for i, bit := range bits {
		mask := permissions(1) << (8 - i)
		switch bit {
		case 1:
			p |= mask
		case 0:
			p &^= mask
		}
	}
	return p
}

func (o *object) base() *object { return o }

// head writes ID to NAME.
func (o *object) head(b *xmlWriter) {
	number(b, "ID", o.ID)
	number(b, "UID", o.UID)
	number(b, "GID", o.GID)
	element(b, "UNAME", o.UName)
	element(b, "GNAME", o.GName)
	element(b, "NAME", o.Name)
}

// headAndPermissions writes ID to PERMISSIONS.
func (o *object) headAndPermissions(b *xmlWriter) {
	o.head(b)
	o.Permissions.write(b)
}

// maxName and forbiddenInName bound an object's name.
const (
	maxName         = 128
	forbiddenInName = "&|:\\\";/'#{}$<>\t\n\v\f\r"
)

// badName is oned's reason against a name, "" where it may be used.
func badName(name string) string {
	if name == "" {
		return "Invalid NAME, it cannot be empty"
	}
	if i := strings.IndexAny(name, forbiddenInName); i >= 0 {
		return "Invalid NAME, char '" + name[i:i+1] + "' is not allowed"
	}
	if len(name) > maxName {
		return "Invalid NAME, max length is 128 chars"
	}
	return ""
}

// now is the time as oned stores it.
func now() int64 { return time.Now().Unix() }
