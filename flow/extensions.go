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
	if len(old.Extra[WebhooksAttribute]) > 0 && len(replacement.Extra[WebhooksAttribute]) == 0 {
		dropped = append(dropped, WebhooksAttribute)
	}
	for _, role := range old.Roles {
		still := slices.ContainsFunc(replacement.Roles, func(other Role) bool { return other.Name == role.Name && len(other.Heal) == 0 })
		if len(role.Heal) > 0 && still {
			dropped = append(dropped, "heal of role "+role.Name)
		}
	}
	return dropped
}
