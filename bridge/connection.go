package bridge

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"github.com/flowjet/flowjet/opennebula"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 10 * time.Second
)

// connection is a SUB connection to one publisher, one level below zmq4's sockets. Those report a lost
// connection only after they have reconnected, stop for good when a publisher accepts and then
// fails the handshake, and allocate whatever size a frame claims to have.
type connection struct {
	net  net.Conn
	zmtp *zmq4.Conn
	// from is what zmtp reads from; messages are read past it.
	from *boundedConn
	slab *slab
	stop func() bool
}

// subscribe connects to a publisher and sends the subscriptions. The end of ctx closes the connection.
func subscribe(ctx context.Context, address string, topics []string) (*connection, error) {
	dialer := net.Dialer{
		Timeout: dialTimeout,
		// An idle publisher sends nothing: only keep-alive detects that its host has gone.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &connection{net: raw, stop: context.AfterFunc(ctx, func() { raw.Close() })}
	if err := c.greet(topics); err != nil {
		c.close()
		return nil, fmt.Errorf("perform the ZeroMQ handshake with %s: %w", address, err)
	}
	return c, nil
}

func (c *connection) greet(topics []string) (err error) {
	defer recoverTo(&err)
	if err := c.net.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	c.from, c.slab = &boundedConn{Conn: c.net, reader: bufio.NewReaderSize(c.net, readAhead)}, newSlab()
	c.zmtp, err = zmq4.Open(c.from, null.Security(), zmq4.Sub, zmq4.SocketIdentity("flowjet"), false, nil)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if err := c.zmtp.SendMsg(zmq4.NewMsg(append([]byte{1}, topic...))); err != nil {
			return err
		}
	}
	return c.net.SetDeadline(time.Time{})
}

func (c *connection) close() {
	c.stop()
	c.net.Close()
}

// read waits for the next message. Rare commands are left to zmq4; of messages each byte is copied once.
func (c *connection) read() (item, error) {
	for {
		command, err := c.from.atCommand()
		if err != nil {
			return item{}, err
		}
		if !command {
			break
		}
		if err := c.obey(); err != nil {
			return item{}, err
		}
	}
	if slabSize-c.slab.used < slabSize/16 {
		c.slab.release()
		c.slab = newSlab()
	}
	i := item{frames: make([][]byte, 0, 2), slab: c.slab}
	c.slab.users.Add(1)
	for more := true; more; more = c.from.frames > 0 {
		if command, err := c.from.atCommand(); err != nil || command {
			return item{}, errors.Join(err, errFrame)
		}
		if err := c.from.nextFrame(); err != nil {
			return item{}, err
		}
		var frame []byte
		if start, end := c.slab.used, c.slab.used+int(c.from.body); end <= slabSize {
			frame, c.slab.used = c.slab.data[start:end:end], end
		} else {
			frame = make([]byte, c.from.body)
		}
		if _, err := io.ReadFull(c.from.reader, frame); err != nil {
			return item{}, err
		}
		c.from.header, c.from.body = nil, 0
		i.frames = append(i.frames, frame)
	}
	return i, nil
}

// obey lets zmq4 answer a command.
func (c *connection) obey() (err error) {
	defer recoverTo(&err)
	message, err := c.zmtp.RecvMsg()
	if err == nil && message.Type == zmq4.UsrMsg {
		err = errFrame
	}
	return err
}

// recoverTo turns a panic into an error: zmq4 reads properties and commands without checking their lengths.
func recoverTo(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("the peer violates the protocol: %v", cause)
	}
}

const (
	greetingSize = 64
	// maxMessageSize leaves a body that is too large just large enough to be recognised as such.
	maxMessageSize = opennebula.MaxEventSize/3*4 + 1024
	// maxDiscard is the size of a frame that is not worth reading past.
	maxDiscard = 1 << 30
	maxFrames  = 64
	// readAhead is how many bytes a read of the system asks for.
	readAhead = 256 << 10

	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

var errFrame = errors.New("a frame has an invalid size")

// boundedConn reads ahead, and cuts off the part of a message above maxMessageSize.
type boundedConn struct {
	net.Conn
	reader *bufio.Reader
	// greeted counts the greeting's bytes, which are not in frames.
	greeted int
	// header is the unread part of the current frame's header, in space.
	header []byte
	space  [9]byte
	// body and discard are the rest of its body: for the reader, and to be discarded.
	body, discard int64
	// frames and room belong to the current message.
	frames int
	room   int64
}

func (b *boundedConn) Read(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if b.greeted < greetingSize {
		n, err := b.reader.Read(data[:min(len(data), greetingSize-b.greeted)])
		b.greeted += n
		return n, err
	}
	for len(b.header) == 0 && b.body == 0 {
		if err := b.nextFrame(); err != nil {
			return 0, err
		}
	}
	if len(b.header) > 0 {
		n := copy(data, b.header)
		b.header = b.header[n:]
		return n, nil
	}
	n, err := b.reader.Read(data[:min(int64(len(data)), b.body)])
	b.body -= int64(n)
	return n, err
}

// nextFrame reads a frame's header and makes the header that the reader sees.
func (b *boundedConn) nextFrame() error {
	if err := b.skip(); err != nil {
		return err
	}
	flags, err := b.reader.ReadByte()
	if err != nil {
		return err
	}
	length := 1
	if flags&flagLong != 0 {
		length = 8
	}
	var digits [8]byte
	for i := 8 - length; i < 8; i++ {
		if digits[i], err = b.reader.ReadByte(); err != nil {
			return err
		}
	}
	size := int64(binary.BigEndian.Uint64(digits[:]))
	if b.frames == 0 {
		b.room = maxMessageSize
	}
	b.frames++
	if size < 0 || size > maxDiscard || b.frames > maxFrames {
		return errFrame
	}
	b.body = min(size, b.room)
	b.discard = size - b.body
	b.room -= b.body
	b.space[0] = flags | flagLong
	b.header = binary.BigEndian.AppendUint64(b.space[:1], uint64(b.body))
	if flags&flagMore == 0 {
		b.frames = 0
	}
	return nil
}

// atCommand reports whether the next frame is a command.
func (b *boundedConn) atCommand() (bool, error) {
	if err := b.skip(); err != nil {
		return false, err
	}
	flags, err := b.reader.Peek(1)
	if err != nil {
		return false, err
	}
	return flags[0]&flagCommand != 0, nil
}

func (b *boundedConn) skip() error {
	for b.discard > 0 {
		n, err := b.reader.Discard(int(min(b.discard, 1<<20)))
		b.discard -= int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// slabSize is the memory that messages are read into together: at full rate, an
// allocation for each message would cost the garbage collector most of its time.
const slabSize = 256 << 10

// slab is the memory of some messages. It is used again when all of them have been decoded.
type slab struct {
	data []byte
	used int
	// users are the messages in it, and the listener that fills it.
	users atomic.Int32
}

var slabs = sync.Pool{New: func() any { return &slab{data: make([]byte, slabSize)} }}

func newSlab() *slab {
	s := slabs.Get().(*slab) //nolint:forcetypeassert // the pool has nothing else
	s.used = 0
	s.users.Store(1)
	return s
}

// release gives up a slab. Without it only the reuse of the memory is lost.
func (s *slab) release() {
	if s != nil && s.users.Add(-1) == 0 {
		slabs.Put(s)
	}
}
