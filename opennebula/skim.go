package opennebula

import "bytes"

// unread says of an element of a VM that nobody here reads it: nine tenths of
// its XML.
func unread(tag []byte) bool {
	switch string(tag) {
	case "TEMPLATE", "MONITORING", "HISTORY_RECORDS", "SCHED_ACTIONS", "BACKUPS", "PERMISSIONS":
		return true
	}
	return false
}

// skim leaves the unread elements out of a text with VMs in it, which makes
// decoding several times as fast. Text in CDATA is never taken for tags. What
// it does not understand it leaves to the decoder, as it is.
func skim(text []byte) []byte {
	skimmed := make([]byte, 0, len(text)/4)
	for rest := text; ; {
		tag, start, end := nextTag(rest)
		if end == 0 {
			return append(skimmed, rest...)
		}
		if !unread(tag) {
			skimmed = append(skimmed, rest[:end]...)
			rest = rest[end:]
			continue
		}
		size := elementSize(rest[start:], tag)
		if size == 0 {
			return append(skimmed, rest...)
		}
		skimmed = append(skimmed, rest[:start]...)
		skimmed = append(skimmed, lastHost(tag, rest[start:start+size])...)
		rest = rest[start+size:]
	}
}

// lastHost is all that is read of a VM's history, as an element of its own.
func lastHost(tag, element []byte) string {
	if string(tag) != "HISTORY_RECORDS" {
		return ""
	}
	name, has := lastHostname(element)
	if !has {
		return ""
	}
	return "<LAST_HOST>" + string(name) + "</LAST_HOST>"
}

// lastHostname is the last host in a VM's history, as it is written.
func lastHostname(history []byte) (name []byte, has bool) {
	const open, closing = "<HOSTNAME>", "</HOSTNAME>"
	at := bytes.LastIndex(history, []byte(open))
	if at < 0 {
		return nil, false
	}
	name, _, has = bytes.Cut(history[at+len(open):], []byte(closing))
	return name, has
}

// elementSize is the length of the element at the start of a text, 0 if it does
// not end. It looks for the end by name, past nine tenths of a VM's XML at
// once; where the name occurs inside too, it goes tag by tag.
func elementSize(text []byte, tag []byte) int {
	if tag[len(tag)-1] == '/' {
		return len(tag) + len("<>")
	}
	inside, nested := text[len(tag)+len("<>"):], false
	for from := 0; ; {
		at := bytes.Index(inside[from:], tag)
		if at < 0 {
			return 0
		}
		before, after := inside[:from+at], inside[from+at+len(tag):]
		from = len(inside) - len(after)
		if bytes.HasSuffix(before, []byte("</")) && bytes.HasPrefix(after, []byte(">")) {
			if nested || inCDATA(before) {
				return countedSize(text)
			}
			return len(text) - len(after) + len(">")
		}
		// An element of the same name may begin here.
		nested = nested || bytes.HasSuffix(before, []byte("<")) && (len(after) == 0 || !partOfName(after[0]))
	}
}

// inCDATA reports whether a text ends inside CDATA: the last that opens is not closed.
func inCDATA(text []byte) bool {
	for end := len(text); ; {
		end = bytes.LastIndexByte(text[:end], openCDATA[len(openCDATA)-1])
		if end < 0 {
			return false
		}
		if opened := text[:end+1]; bytes.HasSuffix(opened, []byte(openCDATA)) {
			return !bytes.Contains(text[end:], []byte(closeCDATA))
		}
	}
}

func partOfName(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_' || c == '-' || '0' <= c && c <= '9'
}

// countedSize is elementSize by counting tags.
func countedSize(text []byte) int {
	depth, size := 0, 0
	for {
		tag, _, end := nextTag(text[size:])
		if end == 0 {
			return 0
		}
		size += end
		switch {
		case tag[0] == '/':
			depth--
		case tag[len(tag)-1] != '/':
			depth++
		}
		if depth == 0 {
			return size
		}
	}
}

const openCDATA, closeCDATA = "<![CDATA[", "]]>"

// nextTag is the next tag's text between "<" and ">", where it begins and
// where what follows it begins; end is 0 if there is none.
func nextTag(text []byte) (tag []byte, start, end int) {
	at := 0
	for {
		next := bytes.IndexByte(text[at:], '<')
		if next < 0 {
			return nil, 0, 0
		}
		at += next
		if !bytes.HasPrefix(text[at:], []byte(openCDATA)) {
			break
		}
		length := bytes.Index(text[at:], []byte(closeCDATA))
		if length < 0 {
			return nil, 0, 0
		}
		at += length + len(closeCDATA)
	}
	length := bytes.IndexByte(text[at:], '>')
	if length < 2 {
		return nil, 0, 0
	}
	return text[at+1 : at+length], at, at + length + 1
}
