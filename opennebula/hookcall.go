package opennebula

import (
	"bytes"
	"errors"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula/onexml"
)

const (
	callUpdateVM         = "one.vm.update"
	callAllocateDocument = "one.document.allocate"
	callCloneDocument    = "one.document.clone"

	// How parameters begin in an API event: the session is the first.
	idStart       = "<POSITION>2</POSITION><TYPE>IN</TYPE><VALUE>"
	templateStart = "<POSITION>3</POSITION><TYPE>IN</TYPE><VALUE>"
	modeStart     = "<POSITION>4</POSITION><TYPE>IN</TYPE><VALUE>"
	returnedID    = "<POSITION>2</POSITION><TYPE>OUT</TYPE><VALUE>"
	parameterEnd  = "</VALUE></PARAMETER>"
)

// readCall reads the needed parts of an API event's body. oned does not
// escape the values, so a template with "<" or "&" in it makes the body no XML
// at all, and a text can look like further parameters. The part before
// the first value that a user can choose is therefore read from the front, and
// a chosen value ends where the last fitting one ends.
func (e *HookEvent) readCall(text []byte) (reason Reason, err error) {
	call, found := between(text, "<CALL>", "</CALL>")
	if !found {
		return ReasonXML, errors.New("it has no CALL")
	}
	if call != e.Call {
		return ReasonMismatch, errors.New("its CALL does not match the key")
	}
	result, found := between(text, "<RESULT>", "</RESULT>")
	if !found {
		return ReasonXML, errors.New("it has no RESULT")
	}
	if (result == "1") != e.OK {
		return ReasonMismatch, errors.New("its RESULT does not match the key")
	}
	var id string
	switch e.Call {
	case callAllocateDocument, callCloneDocument:
		// oned writes the id that a call returned behind all values of the caller, and
		// before the object itself, in which a text can look like it.
		returned, _, _ := bytes.Cut(text, []byte("<EXTRA>"))
		if begin := bytes.LastIndex(returned, []byte(returnedID)); begin >= 0 {
			id, _ = between(returned[begin:], returnedID, parameterEnd)
		}
	default:
		if second, found := between(text, idStart, parameterEnd); found {
			id = strings.TrimSpace(second)
		}
	}
	if e.ID, err = parseID(id); err != nil {
		e.ID = -1
	}
	if e.Call == callUpdateVM {
		return e.readUpdate(text)
	}
	return "", nil
}

// readUpdate reads one.vm.update's arguments: id, template, and 1 for append
// or 0 for replace.
func (e *HookEvent) readUpdate(text []byte) (Reason, error) {
	if e.ID < 0 {
		return ReasonXML, errors.New("it has no VM id")
	}
	// The template may hold anything: it ends where the last fourth parameter begins.
	_, text, begins := bytes.Cut(text, []byte(templateStart))
	end := bytes.LastIndex(text, []byte(parameterEnd+"<PARAMETER>"+modeStart))
	if !begins || end < 0 {
		return ReasonXML, errors.New("it has no template")
	}
	how, found := between(text[end+len(parameterEnd):], modeStart, parameterEnd)
	if !found {
		return ReasonXML, errors.New("it lacks the parameter for append or replace")
	}
	if !e.OK {
		return "", nil
	}
	e.Ready = readyIn(string(text[:end]))
	if e.Ready == nil && strings.TrimSpace(how) == "0" {
		e.Ready = new(bool)
	}
	return "", nil
}

// between returns the text between the first start and the next end.
func between(text []byte, start, end string) (string, bool) {
	_, after, found := bytes.Cut(text, []byte(start))
	if !found {
		return "", false
	}
	value, _, found := bytes.Cut(after, []byte(end))
	return string(value), found
}

// isYes reads a template's yes: in any case, with blanks and quotes around it.
func isYes(value string) bool { return strings.EqualFold(strings.Trim(value, " \t\r\n\"'"), "YES") }

// readyIn returns the value that a template text sets for READY: nil if it does not
// mention it. Templates come as text (READY = "YES") and as XML.
func readyIn(template string) *bool {
	var value string
	var found bool
	if strings.HasPrefix(strings.TrimSpace(template), "<") {
		// It is directly under the root; elements before a break in the XML count.
		r := onexml.New([]byte(template))
		r.Root()
		r.Each(func(name []byte) {
			if strings.EqualFold(string(name), "READY") {
				value, found = r.String(), true
			}
		})
	} else {
		value, found = one.LastValue(template, "READY")
	}
	if !found {
		return nil
	}
	return new(isYes(value))
}
