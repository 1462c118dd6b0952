package opennebula

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow"
)

// maxDepth is how deep a VM's elements are nested at most, where they are read
// at all.
const maxDepth = 8

// scanVM reads a VM's state event the way oned writes it, many times as fast
// as the general decoder: events come in bursts of thousands when a host fails.
// Whatever is unusual it does not judge (false); the general decoder does.
func scanVM(text []byte) (host string, vm flow.VM, understood bool) {
	s := vmScan{rest: text}
	if !s.run() || !s.hasVM {
		return "", flow.VM{}, false
	}
	return s.host, s.vm.vm(), true
}

// scanVMs reads a pool of VMs in the same way. What is unusual in one of them leaves
// all to the general decoder.
func scanVMs(text []byte) (vms []flow.VM, understood bool) {
	s := vmScan{rest: text, pool: true, vms: []flow.VM{}}
	understood = s.run() && string(s.path[0]) == "VM_POOL"
	return s.vms, understood
}

// vmScan is the state of one scan.
type vmScan struct {
	rest  []byte
	path  [maxDepth][]byte
	depth int
	// leaf is whether the element that is open has had no child.
	leaf  bool
	host  string
	vm    vmXML
	hasVM bool
	// pool reports whether there are any number of VMs, which go to vms.
	pool bool
	vms  []flow.VM
}

func (s *vmScan) run() bool {
	for {
		tag, start, end := nextTag(s.rest)
		if end == 0 {
			return s.depth == 0 && len(bytes.TrimSpace(s.rest)) == 0
		}
		if !s.take(tag, start, end) {
			return false
		}
		if s.depth == 0 {
			return len(bytes.TrimSpace(s.rest)) == 0
		}
	}
}

// take goes past one tag and what is before it.
func (s *vmScan) take(tag []byte, start, end int) bool {
	switch {
	case tag[0] == '/':
		return s.shut(tag[1:], s.rest[:start], end)
	case !plainName(tag):
		return false
	case unread(tag):
		size := elementSize(s.rest[start:], tag)
		element := s.rest[start : start+size]
		s.rest = s.rest[start+size:]
		s.leaf = false
		return size > 0 && s.depth > 0 && s.pass(tag, element)
	case tag[len(tag)-1] == '/':
		s.rest, s.leaf = s.rest[end:], false
		return s.depth > 0 && !s.wanted(tag[:len(tag)-1])
	case s.depth == maxDepth:
		return false
	}
	if text, size := leafText(s.rest[end:], tag); size > 0 && s.depth > 0 && !s.wanted(tag) {
		return s.takeLeaf(tag, text, end+size)
	}
	s.path[s.depth] = tag
	s.depth++
	s.leaf = true
	s.hasVM = s.hasVM || s.depth == 2 && string(tag) == "VM"
	s.rest = s.rest[end:]
	return true
}

// takeLeaf goes past an element without children, which most are.
func (s *vmScan) takeLeaf(tag, text []byte, size int) bool {
	s.rest, s.leaf = s.rest[size:], false
	s.depth++
	understood := s.read(string(tag), text)
	s.depth--
	return understood
}

// leafText is what is in an element without children, behind whose opening tag
// rest is, and how much of rest that is with the closing tag; 0 if it has some.
func leafText(rest, tag []byte) (text []byte, size int) {
	from := 0
	if bytes.HasPrefix(rest, []byte(openCDATA)) {
		from = max(0, bytes.Index(rest, []byte(closeCDATA)))
	}
	at := bytes.IndexByte(rest[from:], '<')
	if at < 0 {
		return nil, 0
	}
	text = rest[:from+at]
	shut := rest[from+at:]
	size = len("</>") + len(tag)
	if len(shut) < size || shut[1] != '/' || shut[size-1] != '>' || !bytes.Equal(shut[2:size-1], tag) {
		return nil, 0
	}
	return text, len(text) + size
}

// plainName reports whether a tag is a name as oned gives them, and no more.
func plainName(tag []byte) bool {
	for i, c := range bytes.TrimSuffix(tag, []byte("/")) {
		letter := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(tag) > 1 || tag[0] != '/'
}

// wanted reports whether an empty element with this name would be read here.
func (s *vmScan) wanted(name []byte) bool {
	return s.depth == 1 && string(name) == "VM"
}

// pass goes past an element of which nothing is read but, in a pool, the last host
// in a VM's history. An event says by itself where its VM is.
func (s *vmScan) pass(tag, element []byte) bool {
	if !s.pool || s.depth != 2 || string(tag) != "HISTORY_RECORDS" {
		return true
	}
	name, has := lastHostname(element)
	return !has || plainText(name, &s.vm.LastHost)
}

func (s *vmScan) shut(name, text []byte, end int) bool {
	if s.depth == 0 || !bytes.Equal(s.path[s.depth-1], name) {
		return false
	}
	understood := !s.leaf || s.read(string(name), text)
	if s.pool && s.depth == 2 && string(name) == "VM" {
		s.vms = append(s.vms, s.vm.vm())
		s.vm = vmXML{}
	}
	s.depth--
	s.leaf = false
	s.rest = s.rest[end:]
	return understood
}

// read keeps an element's text if it is one of those that are needed.
func (s *vmScan) read(name string, text []byte) bool {
	switch {
	case s.depth == 2 && name == "REMOTE_HOST":
		return plainText(text, &s.host)
	case s.depth < 3 || string(s.path[1]) != "VM":
		return true
	case s.depth == 3:
		return s.readVM(name, text)
	case s.depth == 4 && string(s.path[2]) == "USER_TEMPLATE":
		return s.readUser(name, text)
	}
	return true
}

func (s *vmScan) readVM(name string, text []byte) bool {
	switch name {
	case "ID":
		return plainNumber(text, &s.vm.ID)
	case "UID":
		return plainNumber(text, &s.vm.UID)
	case "GID":
		return plainNumber(text, &s.vm.GID)
	case "STATE":
		return plainNumber(text, &s.vm.State)
	case "LCM_STATE":
		return plainNumber(text, &s.vm.LCMState)
	case "UNAME":
		return plainText(text, &s.vm.UName)
	case "GNAME":
		return plainText(text, &s.vm.GName)
	case "NAME":
		return plainText(text, &s.vm.Name)
	}
	return true
}

func (s *vmScan) readUser(name string, text []byte) bool {
	switch name {
	case "READY":
		return plainText(text, &s.vm.User.Ready)
	case "SERVICE_ID":
		return plainText(text, &s.vm.User.Service)
	case "ROLE_NAME":
		return plainText(text, &s.vm.User.Role)
	case "FLOWJET_KEY":
		return plainText(text, &s.vm.User.Key)
	case flow.ProtectAttribute:
		return plainText(text, &s.vm.User.Protect)
	}
	return true
}

func plainNumber(text []byte, into *int) bool {
	number, err := strconv.Atoi(string(text))
	*into = number
	return err == nil
}

// plainText is a text that says what it is: without entities, line ends that a
// decoder would change, or more than one piece.
func plainText(text []byte, into *string) bool {
	if bytes.HasPrefix(text, []byte(openCDATA)) && bytes.HasSuffix(text, []byte(closeCDATA)) {
		text = text[len(openCDATA) : len(text)-len(closeCDATA)]
		if bytes.Contains(text, []byte(closeCDATA)) {
			return false
		}
	} else if bytes.ContainsAny(text, "<&>") {
		return false
	}
	if isASCII(text) {
		*into = string(text)
		return true
	}
	if !utf8.Valid(text) || bytes.IndexFunc(text, unusual) >= 0 {
		return false
	}
	*into = string(text)
	return true
}

// isASCII reports whether a text has nothing but ASCII's letters, digits and signs.
func isASCII(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func unusual(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' || r > 0xd7ff || r == utf8.RuneError
}
