package postgres

import "encoding/binary"

// Types of the arrays that the writer sends, and their OIDs.
const (
	boolean = 16
	bigint  = 20
	text    = 25
)

// array is a PostgreSQL array in the protocol's binary format, made element by element, so that a row is encoded once, into memory
// that the next group uses again. The zero array is empty; it takes the type of its first element.
type array struct {
	bytes []byte
	n     uint32
}

// arrayHeader is the length of what stands before the elements: dimensions, flags, type, length, lower bound.
const arrayHeader = 20

func (a *array) reset() { a.bytes, a.n = a.bytes[:0], 0 }

// element begins the next element, of size bytes.
func (a *array) element(oid uint32, size int) {
	if a.n == 0 {
		a.bytes = binary.BigEndian.AppendUint32(a.bytes[:0], 1)
		a.bytes = binary.BigEndian.AppendUint32(a.bytes, 0)
		a.bytes = binary.BigEndian.AppendUint32(a.bytes, oid)
		a.bytes = binary.BigEndian.AppendUint64(a.bytes, 1) // the length, which encoded sets, and the lower bound
	}
	a.n++
	a.bytes = binary.BigEndian.AppendUint32(a.bytes, uint32(size))
}

func (a *array) addText(s string) {
	a.element(text, len(s))
	a.bytes = append(a.bytes, s...)
}

func (a *array) addUTF8(s []byte) {
	a.element(text, len(s))
	a.bytes = append(a.bytes, s...)
}

func (a *array) addInt(n int64) {
	a.element(bigint, 8)
	a.bytes = binary.BigEndian.AppendUint64(a.bytes, uint64(n))
}

func (a *array) addBool(b bool) {
	a.element(boolean, 1)
	if b {
		a.bytes = append(a.bytes, 1)
	} else {
		a.bytes = append(a.bytes, 0)
	}
}

// encoded returns the array, which has elements. It shares a's memory.
func (a *array) encoded() []byte {
	binary.BigEndian.PutUint32(a.bytes[arrayHeader-8:], a.n)
	return a.bytes
}

// only returns the one element that the array has. It shares a's memory.
func (a *array) only() []byte { return a.bytes[arrayHeader+4:] }

// integer returns a bigint in the protocol's binary format.
func integer(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
