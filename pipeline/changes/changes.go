// Package changes finds the documents that have changed at oned since they were listed, or
// that other users may see now: from the services' records, which are stored before
// anything else is done, and from the calls that bridges receive.
package changes

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// The sources of changes.
const (
	fromRecords = iota
	fromDocuments
	// Those of changes of rights.
	fromRules
	fromUsers
	fromGroups
	sources
)

// Point is a position in all sources.
type Point [sources]uint64

// Changed are the documents that have changed between two points.
type Changed struct {
	// Decided are services whose records have changed: their documents may be outdated.
	Decided []int
	// Written are documents that changed at oned or are gone, for the users who could see them before.
	Written []int
	// Granted are documents that other users may see now: new ones, and those with changed owners or rights.
	Granted []int
}

// Changes reads the changes.
type Changes struct {
	streams [sources]*js.Stream
	filters [sources]string
}

// New returns the changes in the zone of a pipeline.
func New(p *pipeline.Pipeline) *Changes {
	c := &Changes{}
	c.streams[fromRecords], c.filters[fromRecords] = p.Stream(pipeline.StreamOf(pipeline.BucketState)), pipeline.KeySubject(pipeline.BucketState, ">")
	for source, object := range map[int]string{fromDocuments: "document", fromRules: "acl", fromUsers: "user", fromGroups: "group"} {
		c.streams[source], c.filters[source] = p.Stream(pipeline.StreamONE), pipeline.CallSubjects(p.Zone(), object)
	}
	return c
}

// LastChange returns the point behind everything that is stored: it asks the streams' leaders.
func (c *Changes) LastChange(ctx context.Context) (point Point, err error) {
	defer errs.Wrap(&err, "find out whether documents have changed")
	group, ctx := errgroup.WithContext(ctx)
	for source, filter := range c.filters {
		group.Go(func() (err error) {
			point[source], _, err = c.streams[source].LastOf(ctx, filter)
			return err
		})
	}
	err = group.Wait()
	return point, err
}

// mostCalls bounds the calls about users and groups that are read to find that they changed nothing.
const mostCalls = 100

// ChangedBetween returns the changes between two points. It returns false if any
// document may have changed: rights have changed, or there are more changes than most.
func (c *Changes) ChangedBetween(ctx context.Context, from, to Point, most int) (changed Changed, known bool, err error) {
	defer errs.Wrap(&err, "find out which documents have changed")
	known = true
	read := func(source, most int, visit func(js.Message)) {
		if err != nil || !known || from[source] == to[source] {
			return
		}
		var whole bool
		whole, err = c.streams[source].Between(ctx, c.filters[source], from[source], to[source], most, visit)
		known = known && whole
	}
	for _, source := range []int{fromRules, fromUsers, fromGroups} {
		read(source, mostCalls, func(message js.Message) {
			call, refused := strings.CutSuffix(message.Subject, failed)
			call = strings.TrimSuffix(call, ".ok")
			harmless := refused || slices.ContainsFunc(withoutRights, func(one string) bool { return strings.HasSuffix(call, ".api."+one) })
			known = known && harmless
		})
	}
	read(fromRecords, most, changed.addRecord)
	read(fromDocuments, most, func(message js.Message) { known = changed.addCall(message) && known })
	return changed, known && err == nil, err
}

// addRecord adds the service of a record. Records of services that have ended expire.
func (c *Changed) addRecord(message js.Message) {
	id, err := strconv.Atoi(message.Subject[strings.LastIndexByte(message.Subject, '.')+1:])
	switch {
	case err != nil:
	case len(message.Data) == 0 || message.Header.Get(jetstream.MsgTTLHeader) != "":
		c.Written = append(c.Written, id)
	default:
		c.Decided = append(c.Decided, id)
	}
}

// addCall adds the document of a call, and reports whether the call is known.
func (c *Changed) addCall(message js.Message) bool {
	if strings.HasSuffix(message.Subject, failed) {
		return true
	}
	event, err := pipeline.DecodeEvent(message.Data)
	if err != nil || event.ID < 0 {
		return false
	}
	switch event.Call {
	case "one.document.update", "one.document.rename", "one.document.delete", "one.document.lock", "one.document.unlock":
		c.Written = append(c.Written, event.ID)
	default:
		c.Granted = append(c.Granted, event.ID)
	}
	return true
}

// failed is the end of the subjects of calls that oned refused.
const failed = ".failed"

// withoutRights are calls about users and groups that change nothing in what each user may see.
var withoutRights = []string{
	"user.allocate", "user.login", "user.passwd", "user.chauth", "user.enable", "user.update", "user.quota",
	"group.allocate", "group.update", "group.quota",
}
