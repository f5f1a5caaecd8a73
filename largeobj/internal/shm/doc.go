// Package shm is memory that processes on one host share.
//
// It knows bytes and processes, and neither calls nor objects nor QUIC: whoever uses it sends an offer once and a [Handle]
// for each piece of memory, over a connection that both ends have already. It exists on Linux (amd64 and arm64); elsewhere
// [NewArena] and [Listen] return errors.ErrUnsupported.
//
// # Usage
//
// A process has one [Arena] for all its peers. One side makes an offer for a connection, the other one dials it; then both
// may hand memory over.
//
//	arena, err := shm.NewArena(shm.ArenaConfig{})
//	ln, err := shm.Listen(shm.ListenerConfig{Arena: arena})
//	offer, withdraw, err := ln.Offer(&tlsState, accept)               // one side
//	link, err := shm.Dial(ctx, offer, &tlsState, arena, shm.LinkConfig{}) // the other, having received the offer
//
//	b, err := arena.Alloc(n)                     // the owner
//	copy(b.Bytes(), data)
//	h, ok := link.TryLease(b, 0, n)              // not ok: send the bytes in another way
//	b.Release()
//	send(shm.AppendHandle(nil, h))
//
//	le, err := link.Open(h)                      // the peer
//	use(le.Bytes())
//	le.Release()
//
// A handle that is not sent, or whose message may be lost, goes to [Link.Cancel]. A block of [Arena.AllocSealed] is
// immutable from [Block.Seal] on, for its owner too.
//
// # Concurrency
//
// [Arena], [Listener] and [Link] are safe for concurrent use. A link has two goroutines, a listener one for each socket and
// one for each client that is attaching; Close waits for them. [Arena.Close] closes the links. A timer looks for idle memory
// while there is some. TryLease, Open and Release never wait for the peer; Alloc waits for the system when it needs memory.
//
// # Ownership
//
// A block is used again when its owner has released it and all leases on it have ended: by [Lease.Release], by Cancel, or
// with the link, which ends with the process of the peer. A lease is released once, on every path; what is not released
// stays with the peer until the link ends. Memory is never unmapped under a lease, nor by the garbage collector. Leases
// outlive their link: their bytes stay readable, but an owner that lives on may use them again, of which [Lease.Valid] tells.
//
// # Trust
//
// Processes of one user can do anything to each other, so this is what links are restricted to, and what a block is open to:
// every linked peer can read all blocks of an arena, leased to it or not. Another user is refused by both sides. A client
// and a listener prove to each other that they have the secret of the same connection (RFC 5705), so nobody attaches in
// another's place. Bytes of a lease may change while they are read, unless it is sealed: copy first, then check. A sealed
// block is open to those it is leased to.
//
// Nothing that a peer does makes this side panic, hang or receive a SIGBUS: segments exist as a whole before they are used,
// their size cannot change nor holes be made, and the receiver checks that. A peer can end its own leases and hold on to
// what it has, up to the limits.
//
// # Limits
//
// [ArenaConfig] bounds the memory, [LinkConfig] what a peer may hold on to. Fixed are: 64 clients attaching at once, for a
// second each; 256 segments and 1 TiB of one peer mapped here; 16 segments of ours that a peer has not answered; 1024
// messages that wait for a peer before it is given up. A block of more than half a segment, and a sealed one, has a segment
// of its own. A descriptor and a mapping is what a segment costs us, a mapping what one of a peer does. The memory counts
// for the control group of its owner, which is killed when it exceeds its limit: MaxBytes must fit.
//
// A host is a boot of a kernel; containers on it share memory if their network namespace is the same, or a directory is
// ([ListenerConfig], Dir), and their user is. Sockets of killed processes stay in that directory. A path of a socket ends at
// 107 bytes, of which its name takes 38.
//
// # What was measured and chosen
//
// On two virtual processors: allocating and releasing a block 100 ns, granting, opening and releasing a lease 150 ns,
// handing 8 KiB or 1 MiB to another process and having its answer through a pipe 40 µs, of which nearly all is waking up.
// A first segment of 64 MiB takes 20 ms together with its end, a sealed block of 1 MiB 0.3 ms.
//
// Page faults are what new memory costs: writing to each page of 64 MiB for the first time took 209 ms, and 55 ms when
// MADV_POPULATE_WRITE had come before. So segments are populated as a whole, and freed blocks stay.
//
// Releases travel through memory that the lessee writes and the owner looks at, four leases whenever it grants one, and
// all when it is short. A message for each would cost more than the lease (BenchmarkHandOver). Both words of a lease
// have one writer, so that the memory can be sealed like segments: with compare-and-swap on a common word anybody could
// punch a hole into it.
//
// Free neighbours become one at once, instead of staying in classes as they were cut: sizes of messages change with the
// load, and a segment of which every block is free must be empty.
//
// # Traps
//
// Each with the test that fails when we fall into it again:
//
//	a sparse file is a SIGBUS on its way                     TestOnlySafeMemoryIsImported
//	st_blocks counts what lies beyond the end                TestHiddenHoleIsFilledWhenImporting
//	a descriptor opened anew forgets nothing of the seals    TestNobodyCanChangeASegment
//	a descriptor that is refused must be closed              TestMessagesThatEndALink
//	sealing fails once in ten thousand times                 BenchmarkAllocSealed
//	a cancelled message may have been opened                 TestOneOfOpenAndCancelWins
package shm
