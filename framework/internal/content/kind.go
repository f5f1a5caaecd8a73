package content

import (
	"sync/atomic"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
)

// A Kind is one of the two kinds of messages of a method, requests or responses, with what has been learned of them on all
// connections of the process. It is safe for concurrent use.
type Kind struct {
	*codec.Codec
	name string // for errors: "greeter.v1/Hello: request"
	like uint64 // of its first field in package dedup; the others follow

	size     sizeHint          // of messages that are sent
	recalled sizeHint          // of messages that arrive as frames of package dedup
	chooser  *compress.Chooser // among codecs for whole bodies
	packer   *codec.Packer     // of lists in messages; nil if they have none
	ways     ways              // to remember messages, or not

	mayCompress, mayRemember bool        // as the method was declared
	noCompress, noRemember   atomic.Bool // switched off at run time

	counts struct {
		messages, plain, sent           atomic.Uint64
		pieces, differences, compressed atomic.Uint64
	}
}

// KindOptions are what a method is declared with.
type KindOptions struct {
	Uncompressed bool // messages are never compressed
	NoDedup      bool // messages are never remembered
}

// likesPerKind is how many fields of a kind are told apart when a field is sent as the difference from an earlier one.
const likesPerKind = 256

var lastLike atomic.Uint64

// NewKind returns the kind of messages that a codec encodes. Messages with a secret field are not compressed, because the
// length of what is sent would tell something of the secret to whoever chooses the rest.
func NewKind(name string, c *codec.Codec, o KindOptions) *Kind {
	k := &Kind{
		Codec: c, name: name, like: lastLike.Add(likesPerKind) - likesPerKind + 1,
		chooser: compress.NewChooser(compress.S2, compress.Zstd), packer: c.NewPacker(),
		mayCompress: !o.Uncompressed && !c.Secret(),
		mayRemember: !o.NoDedup && !o.Uncompressed,
	}
	return k
}

// ExpectedBytes returns how large the next message probably is: as large as the last ones.
func (k *Kind) ExpectedBytes() int { return k.size.expected() }

// Name returns the name of the kind, for errors.
func (k *Kind) Name() string { return k.name }

// compresses reports whether messages may be compressed now.
func (k *Kind) compresses() bool { return k.mayCompress && !k.noCompress.Load() }

// remembers reports whether messages may be remembered now.
func (k *Kind) remembers() bool { return k.mayRemember && !k.noRemember.Load() }

// Chooser is what chooses among codecs for whole bodies, to be pinned and looked at.
func (k *Kind) Chooser() *compress.Chooser { return k.chooser }

// Packer is what decides which lists are packed, to be pinned and looked at; nil if messages have none.
func (k *Kind) Packer() *codec.Packer { return k.packer }

// SetCompression switches compression on or off at run time. A kind that was declared uncompressed stays so.
func (k *Kind) SetCompression(on bool) { k.noCompress.Store(!on) }

// SetDedup switches tables and differences on or off at run time. A kind that was declared without stays so.
func (k *Kind) SetDedup(on bool) { k.noRemember.Store(!on) }

// Stats are what has become of the messages of a kind since the process began, on connections where the layer is on.
// Messages that were too small for anything, or of which nothing was tried, are not counted.
type Stats struct {
	Messages    uint64 // of which something was tried
	PlainBytes  uint64 // of their bodies
	SentBytes   uint64 // of what was sent in their place
	Pieces      uint64 // messages of which a part came from a table, or went into one
	Differences uint64 // messages of streams that were sent as the difference from the one before
	Compressed  uint64 // messages that were compressed, on top of the above or alone

	Compresses, Remembers bool           // whether the layer may now
	Choice                compress.Stats // among codecs for whole bodies
	DedupPays             bool           // whether remembering has cost less than not to, on the path
}

// Stats returns the counters and decisions. path is where the choice would be made.
func (k *Kind) Stats(path compress.Path) Stats {
	return Stats{
		Messages: k.counts.messages.Load(), PlainBytes: k.counts.plain.Load(), SentBytes: k.counts.sent.Load(),
		Pieces: k.counts.pieces.Load(), Differences: k.counts.differences.Load(), Compressed: k.counts.compressed.Load(),
		Compresses: k.compresses(), Remembers: k.remembers(),
		Choice: k.chooser.Stats(path), DedupPays: k.remembers() && k.ways.pay(path.Cost()),
	}
}

// count adds a message of which something was tried.
func (k *Kind) count(plain, sent int, form dedup.Form, c compress.Codec) {
	k.counts.messages.Add(1)
	k.counts.plain.Add(uint64(plain))
	k.counts.sent.Add(uint64(sent))
	switch form {
	case dedup.FormPieces:
		k.counts.pieces.Add(1)
	case dedup.FormDelta:
		k.counts.differences.Add(1)
	}
	if c != compress.None {
		k.counts.compressed.Add(1)
	}
}

// HeaderRoom is what a buffer for a message has for everything else, in bytes: headers, an inline schema.
const HeaderRoom = 400

// buffer returns a buffer that a message like the last ones fits into, with its headers.
func (k *Kind) buffer() *wire.Buffer { return wire.NewBuffer(HeaderRoom + k.size.expected()) }

// A sizeHint remembers how large messages of a kind are, so that a buffer need not grow while one is encoded.
type sizeHint struct{ bytes atomic.Int64 }

func (h *sizeHint) expected() int { return int(h.bytes.Load()) }

// observe learns from a message. The hint rises at once and falls slowly, and is written only when it is wrong.
func (h *sizeHint) observe(n int) {
	hint := h.bytes.Load()
	switch {
	case int64(n) > hint:
		h.bytes.Store(int64(n))
	case int64(n) < hint/4:
		h.bytes.Store(hint - hint/16)
	}
}
