package opennebula

import (
	"context"

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
	Enabled      bool
}

type userXML struct {
	ID      int    `xml:"ID"`
	GID     int    `xml:"GID"`
	Groups  []int  `xml:"GROUPS>ID"`
	GName   string `xml:"GNAME"`
	Name    string `xml:"NAME"`
	Enabled string `xml:"ENABLED"`
	Tokens  []struct {
		Token string `xml:"TOKEN"`
		EGID  int    `xml:"EGID"`
	} `xml:"LOGIN_TOKEN"`
}

// User asks for a user by id; -1 is the session's own (one.user.info).
func (s *Session) User(ctx context.Context, id int) (User, error) {
	var found userXML
	if err := s.read(ctx, &found, "one.user.info", id, false); err != nil {
		return User{}, err
	}
	return User{
		Identity:     flow.Identity{UID: found.ID, GID: found.GID, UName: found.Name, GName: found.GName},
		Groups:       found.Groups,
		EffectiveGID: s.effectiveGroup(found),
		Enabled:      found.Enabled != "0",
	}, nil
}

func (s *Session) effectiveGroup(user userXML) int {
	if s.group >= 0 {
		return s.group
	}
	for _, token := range user.Tokens {
		if s.secret != "" && token.Token == s.secret && token.EGID >= 0 {
			return token.EGID
		}
	}
	return user.GID
}
