package opennebula

import "github.com/flowjet/flowjet/flow"

// plainDocuments reads a pool of documents by plainXML; ok is false where that
// cannot.
func plainDocuments(text []byte) (documents []Document, ok bool) {
	documents = []Document{}
	ok = plainElements(text, "DOCUMENT_POOL", func(p *plainXML, name []byte) {
		if string(name) != "DOCUMENT" {
			p.skip(name)
			return
		}
		documents = append(documents, p.document(name))
	})
	return documents, ok
}

// plainDocument reads one document by plainXML.
func plainDocument(text []byte) (document Document, ok bool) {
	p := &plainXML{rest: text}
	if root := p.begin(); string(root) != "DOCUMENT" {
		return Document{}, false
	}
	document = p.document([]byte("DOCUMENT"))
	return document, !p.failed
}

func (p *plainXML) document(element []byte) Document {
	var d Document
	p.children(element, func(name []byte) {
		switch string(name) {
		case "ID":
			d.ID = p.number(name)
		case "NAME":
			d.Name = p.word(name)
		case "TYPE":
			d.Type = p.number(name)
		case "PERMISSIONS":
			p.permissions(name, &d.Permissions)
		case "LOCK":
			d.Locked = true
			p.skip(name)
		case "TEMPLATE":
			p.body(name, &d.Body)
		default:
			p.owner(name, &d.Owner)
		}
	})
	return d
}

// owner reads one of the elements that say whose an object is, and skips others.
func (p *plainXML) owner(name []byte, owner *flow.Identity) {
	switch string(name) {
	case "UID":
		owner.UID = p.number(name)
	case "GID":
		owner.GID = p.number(name)
	case "UNAME":
		owner.UName = p.word(name)
	case "GNAME":
		owner.GName = p.word(name)
	default:
		p.skip(name)
	}
}

func (p *plainXML) permissions(element []byte, bits *Permissions) {
	p.children(element, func(name []byte) {
		if bit := bits.named(string(name)); bit != nil {
			*bit = p.number(name)
			return
		}
		p.skip(name)
	})
}

// named is the bit that oned calls so, nil for none.
func (p *Permissions) named(name string) *int {
	switch name {
	case "OWNER_U":
		return &p.OwnerU
	case "OWNER_M":
		return &p.OwnerM
	case "OWNER_A":
		return &p.OwnerA
	case "GROUP_U":
		return &p.GroupU
	case "GROUP_M":
		return &p.GroupM
	case "GROUP_A":
		return &p.GroupA
	case "OTHER_U":
		return &p.OtherU
	case "OTHER_M":
		return &p.OtherM
	case "OTHER_A":
		return &p.OtherA
	}
	return nil
}

func (p *plainXML) body(element []byte, body *[]byte) {
	p.children(element, func(name []byte) {
		if string(name) != "BODY" {
			p.skip(name)
			return
		}
		*body = p.text(name)
	})
}
