package flow

import "slices"

// DroppedExtensions names the attributes that only Flowjet knows and that a body does not have any more which has taken the
// place of a template's: forms of OneFlow's clients leave out what they do not know.
func DroppedExtensions(held []byte, replacement Body) []string {
	old, err := ParseBody(held)
	if err != nil {
		return nil
	}
	var dropped []string
	for _, name := range []string{ExpandAttribute, WebhooksAttribute} {
		if len(old.Extra[name]) > 0 && len(replacement.Extra[name]) == 0 {
			dropped = append(dropped, name)
		}
	}
	if len(old.Deadlines) > 0 && len(replacement.Deadlines) == 0 {
		dropped = append(dropped, "deadlines")
	}
	for _, role := range old.Roles {
		at := slices.IndexFunc(replacement.Roles, func(other Role) bool { return other.Name == role.Name })
		if at < 0 {
			continue
		}
		now := replacement.Roles[at]
		for _, each := range []struct {
			name     string
			was, now []byte
		}{
			{"heal", role.Heal, now.Heal}, {"deadlines", role.Deadlines, now.Deadlines}, {"victims", role.Victims, now.Victims},
			{ExpandAttribute, role.Extra[ExpandAttribute], now.Extra[ExpandAttribute]},
		} {
			if len(each.was) > 0 && len(each.now) == 0 {
				dropped = append(dropped, each.name+" of role "+role.Name)
			}
		}
	}
	return dropped
}
