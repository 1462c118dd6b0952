package opennebula

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Document is one of OpenNebula's generic documents. OneFlow keeps services as
// type 100 and service templates as type 101.
type Document struct {
	ID          int
	Owner       one.Identity
	Name        string
	Type        int
	Permissions Permissions
	// Locked reports whether somebody has locked the document (one.document.lock). oned
	// enforces the lock.
	Locked bool
	// Body is TEMPLATE/BODY as it stands, whether or not it is JSON.
	Body []byte
}

// Permissions are an object's nine permission bits, 0 or 1. In JSON they are
// texts, as OneFlow shows them.
type Permissions struct {
	OwnerU int `json:"OWNER_U,string"`
	OwnerM int `json:"OWNER_M,string"`
	OwnerA int `json:"OWNER_A,string"`
	GroupU int `json:"GROUP_U,string"`
	GroupM int `json:"GROUP_M,string"`
	GroupA int `json:"GROUP_A,string"`
	OtherU int `json:"OTHER_U,string"`
	OtherM int `json:"OTHER_M,string"`
	OtherA int `json:"OTHER_A,string"`
}

// Octet returns the permissions in the form of `chmod`: 640 if the owner may use and manage and
// the group may use.
func (p Permissions) Octet() string {
	digit := func(use, manage, admin int) int { return 4*use + 2*manage + admin }
	return fmt.Sprintf("%d%d%d", digit(p.OwnerU, p.OwnerM, p.OwnerA), digit(p.GroupU, p.GroupM, p.GroupA), digit(p.OtherU, p.OtherM, p.OtherA))
}

func readDocument(r *onexml.Reader) (d Document) {
	p := &d.Permissions
	r.Each(func(name []byte) { // not by Fields: a list has thousands of documents
		switch string(name) {
		case "ID":
			d.ID = r.Int()
		case "NAME":
			d.Name = r.String()
		case "TYPE":
			d.Type = r.Int()
		case "PERMISSIONS":
			bits := [...]*int{&p.OwnerU, &p.OwnerM, &p.OwnerA, &p.GroupU, &p.GroupM, &p.GroupA, &p.OtherU, &p.OtherM, &p.OtherA}
			r.Each(func(name []byte) {
				if i := slices.Index(permissionNames[:], string(name)); i >= 0 {
					*bits[i] = r.Int()
				}
			})
		case "LOCK":
			d.Locked = true
		case "TEMPLATE":
			r.At(func() { d.Body = bytes.Clone(r.Text()) }, "BODY")
		default:
			readOwner(r, name, &d.Owner)
		}
	})
	return d
}

var permissionNames = [9]string{"OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A"}

// readOwner reads an element if it is about the owner or the group of an object.
func readOwner(r *onexml.Reader, name []byte, into *one.Identity) {
	switch string(name) {
	case "UID":
		into.UID = r.Int()
	case "GID":
		into.GID = r.Int()
	case "UNAME":
		into.UName = r.String()
	case "GNAME":
		into.GName = r.String()
	}
}

// AllocateDocument creates a document and returns its id
// (one.document.allocate). Body should be JSON.
func (s documentCalls) AllocateDocument(ctx context.Context, documentType int, name string, body []byte) (int, error) {
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(name)) // a buffer never fails
	return s.callID(ctx, "one.document.allocate", templateText("<NAME>"+escaped.String()+"</NAME>", body), documentType)
}

// Document reads a document (one.document.info).
func (s documentCalls) Document(ctx context.Context, id int) (Document, error) {
	return object(ctx, s.caller, readDocument, "one.document.info", id, false)
}

// Documents lists documents of a type (one.documentpool.info). Filter is -2 for
// all that the user may see, -3 for the user's own, -1 for those of the user's
// groups too. A document whose XML is broken is returned with as much as could be
// read. If the documents of users exceed the largest answer, the long ones have no bodies.
func (s documentCalls) Documents(ctx context.Context, documentType, filter int) ([]Document, error) {
	documents, err := s.documents(ctx, documentType, filter, -1, -1)
	if !errors.Is(err, ErrTooLarge) {
		return documents, err
	}
	documents, left := nil, maxAnswerSize
	err = s.DocumentPages(ctx, documentType, filter, listPage, func(page []Document) error {
		for i := range page {
			if left -= len(page[i].Body); left < 0 || len(page[i].Body) > longBody {
				left += len(page[i].Body)
				page[i].Body = nil
			}
		}
		documents = append(documents, page...)
		return nil
	})
	slices.SortFunc(documents, func(a, b Document) int { return a.ID - b.ID })
	return documents, err
}

const (
	// listPage is how many documents of a long list are read at once, and longBody the size of the
	// bodies that a list leaves out, in bytes.
	listPage = 256
	longBody = 64 << 10
	// smallestPage is the smallest page that oned accepts: -1 stands for all.
	smallestPage = 2
)

// DocumentPages lists all documents of a type a page at a time, the newest first. If users' documents
// are so long that a page exceeds the largest answer, pages become smaller; documents that
// are too long even then are left out.
func (s documentCalls) DocumentPages(ctx context.Context, documentType, filter, size int, visit func([]Document) error) error {
	for offset, page := 0, size; ; page = min(2*page, size) {
		documents, err := s.documents(ctx, documentType, filter, offset, -page)
		for errors.Is(err, ErrTooLarge) && page > smallestPage {
			page = max(page/2, smallestPage)
			documents, err = s.documents(ctx, documentType, filter, offset, -page)
		}
		switch {
		case err != nil && !errors.Is(err, ErrTooLarge):
			return err
		case err == nil && len(documents) == 0:
			return nil
		}
		if err := visit(documents); err != nil {
			return err
		}
		offset += page
	}
}

func (s documentCalls) documents(ctx context.Context, documentType, filter, start, end int) ([]Document, error) {
	return readAs(ctx, s.caller, func(text []byte) ([]Document, error) {
		return readDocuments(text), nil
	}, "one.documentpool.info", filter, start, end, documentType)
}

// readDocuments reads a pool. A pool that is not well-formed is read one document at a
// time, and only documents without a readable id are left out. oned
// writes bodies into CDATA as they are, so one "]]>" in one breaks the whole.
func readDocuments(text []byte) []Document {
	documents, err := readPool("one.documentpool.info", text, "DOCUMENT", readDocument)
	if err == nil {
		return documents
	}
	const start = "<DOCUMENT><ID>"
	documents = nil
	for _, piece := range strings.Split(string(text), start)[1:] {
		header, rest, _ := strings.Cut(piece, "<TEMPLATE>")
		found, err := readObject("one.documentpool.info", []byte(start+header+"</DOCUMENT>"), readDocument)
		if err != nil {
			continue
		}
		_, body, _ := strings.Cut(rest, "<BODY>")
		if end := strings.LastIndex(body, "</BODY>"); end >= 0 {
			body = body[:end]
		}
		found.Body = []byte(strings.TrimSuffix(strings.TrimPrefix(body, "<![CDATA["), "]]>"))
		documents = append(documents, found)
	}
	return documents
}

// UpdateDocument replaces a document's body (one.document.update, 0).
func (s documentCalls) UpdateDocument(ctx context.Context, id int, body []byte) error {
	return s.do(ctx, "one.document.update", id, templateText("", body), 0)
}

// templateText returns a document's template: elements, and its body in CDATA. oned copies
// values into CDATA unchecked, so they must not have "]]>": in JSON that can
// only be in a string, where "\u003e" means the same.
func templateText(elements string, body []byte) string {
	if end := []byte("]]>"); bytes.Contains(body, end) {
		fit := "]]]]><![CDATA[>"
		if json.Valid(body) {
			fit = `]]\u003e`
		}
		body = bytes.ReplaceAll(body, end, []byte(fit))
	}
	return "<TEMPLATE>" + elements + "<BODY><![CDATA[" + string(body) + "]]></BODY></TEMPLATE>"
}

// DeleteDocument removes a document (one.document.delete).
func (s documentCalls) DeleteDocument(ctx context.Context, id int) error {
	return s.do(ctx, "one.document.delete", id)
}

// RenameDocument gives a document another name (one.document.rename).
func (s documentCalls) RenameDocument(ctx context.Context, id int, name string) error {
	return s.do(ctx, "one.document.rename", id, name)
}

// ChownDocument changes a document's user and group; -1 leaves one as it is
// (one.document.chown).
func (s documentCalls) ChownDocument(ctx context.Context, id, uid, gid int) error {
	return s.do(ctx, "one.document.chown", id, uid, gid)
}

// MayManage returns an error if the user may not MANAGE a document: it makes a call that needs it and changes nothing.
func (s documentCalls) MayManage(ctx context.Context, id int) error {
	const unchanged = -1
	_, err := s.client.call(ctx, s.caller, "one.document.chown", []any{id, unchanged, unchanged})
	return err
}

// ChmodDocument sets a document's permissions from three octal digits, "664"
// (one.document.chmod).
func (s documentCalls) ChmodDocument(ctx context.Context, id int, octet string) error {
	if len(octet) != 3 || strings.Trim(octet, "01234567") != "" {
		return fmt.Errorf("change permissions of document %d: %q is not three octal digits such as 640", id, octet)
	}
	arguments := []any{id}
	for _, digit := range octet {
		bits := int(digit - '0')
		arguments = append(arguments, bits>>2&1, bits>>1&1, bits&1)
	}
	return s.do(ctx, "one.document.chmod", arguments...)
}

// ETag returns the document's entity tag, in HTTP's form: it changes with
// everything that is shown of the document, and is the same for all readers.
func (d Document) ETag() string {
	text, _ := json.Marshal(d) // plain values
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// Matches reports whether one of the tags is the document's, or is "*", which stands
// for any. Without tags it always matches.
func (d Document) Matches(tags []string) bool {
	return len(tags) == 0 || slices.Contains(tags, "*") || slices.Contains(tags, d.ETag())
}
