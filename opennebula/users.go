package opennebula

import (
	"context"
	"strings"

	"github.com/flowjet/flowjet/flow"
)

// User is a user of OpenNebula.
type User struct {
	Identity flow.Identity
	// Groups are the ids of all groups that the user is in.
	Groups []int
	// EffectiveGID is the group in which this session's calls act: the scoped
	// login token's (LOGIN_TOKEN/EGID), else the primary group.
	EffectiveGID int
	// Scoped reports whether the session acts in that group alone.
	Scoped  bool
	Enabled bool
	// server reports whether it is a server user, which acts for others.
	server bool
}

type userXML struct {
	ID      int    `xml:"ID"`
	GID     int    `xml:"GID"`
	Groups  []int  `xml:"GROUPS>ID"`
	GName   string `xml:"GNAME"`
	Name    string `xml:"NAME"`
	Driver  string `xml:"AUTH_DRIVER"`
	Enabled string `xml:"ENABLED"`
	// Password is the hash of a password that oned itself checks.
	Password string `xml:"PASSWORD"`
	Tokens   []struct {
		Token string `xml:"TOKEN"`
		EGID  int    `xml:"EGID"`
	} `xml:"LOGIN_TOKEN"`
}

// User asks for a user by id; -1 is the session's own (one.user.info).
func (s *Session) User(ctx context.Context, id int) (User, error) {
	var found userXML
	if err := s.read(ctx, &found, methodUserInfo, id, false); err != nil {
		return User{}, err
	}
	return s.user(found), nil
}

func (s *Session) user(found userXML) User {
	group, scoped := s.effectiveGroup(found)
	return User{
		Identity:     flow.Identity{UID: found.ID, GID: found.GID, UName: found.Name, GName: found.GName},
		Groups:       found.Groups,
		EffectiveGID: group,
		Scoped:       scoped,
		Enabled:      found.Enabled != "0",
		server:       strings.HasPrefix(found.Driver, "server"),
	}
}

// effectiveGroup is the group in which the session acts, and whether it is the only one.
func (s *Session) effectiveGroup(user userXML) (group int, scoped bool) {
	if s.group >= 0 {
		return s.group, true
	}
	for _, token := range user.Tokens {
		if s.secret != "" && token.Token == s.secret && token.EGID >= 0 {
			return token.EGID, true
		}
	}
	return user.GID, false
}
