package opennebula

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

const (
	callUpdateVM         = "one.vm.update"
	callAllocateDocument = "one.document.allocate"
	callCloneDocument    = "one.document.clone"
	// returnedID is how the second OUT parameter begins.
	returnedID = "<POSITION>2</POSITION><TYPE>OUT</TYPE><VALUE>"
)

// readCall takes what is needed out of an API event's body. oned does not
// escape the values, so a template with "<" or "&" in it makes the body no XML
// at all, and a text can look like further parameters. What oned writes before
// the first value that a user can choose is therefore read from the front, and
// a chosen value ends where the last one that fits ends.
func (e *HookEvent) readCall(text []byte) (Reason, error) {
	e.Object = "api"
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
	e.ID = objectOf(text)
	switch e.Call {
	case callUpdateVM:
		return e.readUpdate(text)
	case callAllocateDocument, callCloneDocument:
		e.ID = createdBy(text)
	}
	return "", nil
}

// createdBy is the id that a call returned. oned writes it behind all that the caller has
// chosen, and before the object itself, in which a text can look like it.
func createdBy(text []byte) int {
	returned, _, _ := bytes.Cut(text, []byte("<EXTRA>"))
	begin := bytes.LastIndex(returned, []byte(returnedID))
	if begin < 0 {
		return -1
	}
	value, _ := between(returned[begin:], returnedID, parameterEnd)
	id, err := parseID(value)
	if err != nil {
		return -1
	}
	return id
}

// objectOf is the second argument, where it is an id.
func objectOf(text []byte) int {
	value, found := between(text, parameterStart(2), parameterEnd)
	if !found {
		return -1
	}
	id, err := parseID(strings.TrimSpace(value))
	if err != nil {
		return -1
	}
	return id
}

// readUpdate reads one.vm.update's arguments: id, template, and 1 for append
// or 0 for replace.
func (e *HookEvent) readUpdate(text []byte) (Reason, error) {
	if e.ID < 0 {
		return ReasonXML, errors.New("it has no VM id")
	}
	template, rest, found := freeText(text, 3)
	if !found {
		return ReasonXML, errors.New("it has no template")
	}
	how, found := between(rest, parameterStart(4), parameterEnd)
	if !found {
		return ReasonXML, errors.New("it lacks the parameter for append or replace")
	}
	if !e.OK {
		return "", nil
	}
	e.Ready = readyIn(template)
	if e.Ready == nil && strings.TrimSpace(how) == "0" {
		e.Ready = new(bool)
	}
	return "", nil
}

const parameterEnd = "</VALUE></PARAMETER>"

// parameterStart is how the IN parameter of that number begins.
func parameterStart(position int) string {
	return "<POSITION>" + strconv.Itoa(position) + "</POSITION><TYPE>IN</TYPE><VALUE>"
}

// freeText is a parameter that may hold anything, and what follows it.
func freeText(text []byte, position int) (value string, rest []byte, found bool) {
	start := []byte(parameterStart(position))
	begin := bytes.Index(text, start)
	if begin < 0 {
		return "", nil, false
	}
	text = text[begin+len(start):]
	next := []byte(parameterEnd + "<PARAMETER>" + parameterStart(position+1))
	end := bytes.LastIndex(text, next)
	if end < 0 {
		return "", nil, false
	}
	return string(text[:end]), text[end+len(parameterEnd):], true
}

// between is the text between the first start and the next end.
func between(text []byte, start, end string) (string, bool) {
	_, after, found := bytes.Cut(text, []byte(start))
	if !found {
		return "", false
	}
	value, _, found := bytes.Cut(after, []byte(end))
	return string(value), found
}
