package bench

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

// publisher is a ZeroMQ PUB with one subscriber. It writes what libzmq does, in
// pieces of libzmq's size, and waits where that would drop.
type publisher struct{ conn net.Conn }

// written is how much libzmq writes at a time, at least.
const written = 8192

// publishTo takes in the subscriber that connects next.
func publishTo(b *testing.B, listener net.Listener) *publisher {
	b.Helper()
	conn, err := listener.Accept()
	must(b, err)
	b.Cleanup(func() { conn.Close() })
	greeted, err := zmq4.Open(conn, null.Security(), zmq4.Pub, zmq4.SocketIdentity(""), true, nil)
	must(b, err)
	for range 2 { // the subscriptions
		_, err := greeted.RecvMsg()
		must(b, err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	return &publisher{conn}
}

// wire are a message's frames as ZMTP has them.
func wire(frames [][]byte) []byte {
	const more, long = 1, 2
	var text []byte
	for i, frame := range frames {
		flags := byte(long)
		if i < len(frames)-1 {
			flags |= more
		}
		text = append(binary.BigEndian.AppendUint64(append(text, flags), uint64(len(frame))), frame...)
	}
	return text
}

// send writes messages as they are on the wire.
func (p *publisher) send(b *testing.B, messages [][]byte) {
	var piece []byte
	for _, message := range messages {
		if piece = append(piece, message...); len(piece) >= written {
			_, err := p.conn.Write(piece)
			must(b, err)
			piece = piece[:0]
		}
	}
	_, err := p.conn.Write(piece)
	must(b, err)
}

// stateFrames are a VM's state event with a body of 2 KB.
func stateFrames(vm, service int) [][]byte {
	body := fmt.Sprintf("<HOOK_MESSAGE><HOOK_TYPE>STATE</HOOK_TYPE><HOOK_OBJECT>VM</HOOK_OBJECT><STATE>ACTIVE</STATE><LCM_STATE>RUNNING</LCM_STATE>"+
		"<RESOURCE_ID>%d</RESOURCE_ID><REMOTE_HOST>node-1</REMOTE_HOST><VM><ID>%d</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME>"+
		"<NAME>web_%d</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE>%s</TEMPLATE>"+
		"<USER_TEMPLATE><SERVICE_ID><![CDATA[%d]]></SERVICE_ID><ROLE_NAME><![CDATA[web]]></ROLE_NAME></USER_TEMPLATE></VM></HOOK_MESSAGE>",
		vm, vm, vm, strings.Repeat("<DISK><SIZE><![CDATA[2048]]></SIZE></DISK>", 35), service)
	key := fmt.Sprintf("EVENT STATE VM/ACTIVE/RUNNING/%d ", vm)
	return [][]byte{[]byte(key), []byte(base64.StdEncoding.EncodeToString([]byte(body)))}
}
