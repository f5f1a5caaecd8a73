// Package streams is one connection between two peers: handshake, lanes, call streams, credits and leaving.
//
// It is level 1: it moves the frames of package wire over QUIC, TLS over TCP, or a pair in memory, and knows neither methods nor
// targets nor retries. What the bytes mean is specified in the documentation of package wire.
//
// # Usage
//
// [Dial] and [Listen] make connections over UDP, [DialTCP] and [ListenTCP] over TCP, [Pipe] a pair of them in memory. A
// [Dialer] prefers QUIC and falls back to TCP where UDP is blocked. [Conn.Start] starts a call; both sides
// of a connection may. Incoming calls go to [Config.Serve], which hands them to a goroutine and returns.
//
//	c, err := streams.Dial(ctx, "greeter:4433", streams.Config{TLS: clientTLS})
//	call, err := c.Start(ctx, wire.ClassRPC, wire.Unary, true, payload)
//	defer call.Close(wire.Cancel{Code: wire.Canceled})
//	_, response, err := call.Recv()
//	defer response.Release()
//
// [Conn.Drain] leaves without losing anything, [Conn.Close] at once.
//
// # Time
//
// All times are monotonic: setting the clock, by hours or both ways, ends no connection and lets nothing expire, the register of
// used tickets included (.ci/jumping-clock runs the tests under such a clock). Only what crosses processes has wall time, and costs a
// full handshake or a dial that is tried again at worst: certificates, the seven days of a session ticket (RFC 8446, section
// 4.6.1), and the age of a token, a day, or of a retry during a flood the handshake timeout.
//
// A process that is stopped, or a machine that sleeps, is not taken for a silent peer: what passes between two looks of a
// connection at itself is no silence. Peers do see one, and end the connection after SilenceTimeout if they wait for it, or
// after IdleTimeout.
//
// # Concurrency
//
// A [Conn] and a [Listener] are safe for concurrent use. A [Call] and an [Incoming] have a sending and a receiving side,
// each for one goroutine at a time. A connection runs one goroutine for each stream it reads, and two that wait for streams of the
// peer; one more looks after it while calls wait. Close returns when all of them have ended.
//
// Back-pressure is the caller's: a full lane or stream blocks Start and Send until their contexts end. The goroutine that
// reads a lane never waits for a call: a response goes to whoever waits for it, a request to Serve, which must not block.
//
// # Ownership
//
// Start, Respond and Refuse take ownership of their payload, Send borrows it. What Recv returns belongs to its caller, as
// does [Incoming.Payload] to whoever serves the call. Every buffer is released exactly once; [wire.BuffersOut] tells.
//
// A payload that came in memory shared with the peer ([Memory]) has its body there until the buffer is released.
//
// # Limits
//
// [Config] has what can be set: bytes of a message, call streams of the peer, bytes of messages that are being received,
// and timeouts. Fixed are: 20 lanes of a peer; 256 KiB that wait in a writer before its senders do; 4096 calls of a peer in
// progress, of which further ones are refused, and twice that before the connection of a peer that does not read is closed;
// 256 handshakes of a listener in progress, of which further ones are refused; 1024 schema definitions of 1 MiB together; 30 seconds of pause within the first frame of a stream; 5 seconds of silence
// while calls wait.
//
// # Streams over TCP
//
// Where UDP is blocked the same streams travel over TLS 1.3 over TCP, with the same ALPN. Streams are as in QUIC (RFC 9000,
// sections 2 to 4): numbered by 4n + 2 if unidirectional + 1 if opened by the acceptor, both directions ended by FIN or reset
// on their own, each with a limit of bytes that its receiver raises. A frame is a type and then integers as in section 16 there:
//
//	0x00  data          stream, length, content of 1 to 16371 bytes
//	0x01  last data     stream, length, content of 0 to 16371 bytes: FIN
//	0x02  reset         stream, code: nothing more is sent; what was sent need not be read
//	0x03  stop          stream, code: nothing more is read; answered by a reset with the code unless the stream has ended
//	0x04  max data      stream, limit of all bytes of data on it, 131072 at first
//	0x05  max streams   limit of all bidirectional streams that the receiver of the frame opens, 22 at first
//	0x06  max streams   the same of unidirectional streams, 64 at first
//	0x07  ping          nonce, each one greater than the last
//	0x08  pong          nonce of the last ping that was received
//	0x09  close         code, length, text of up to 512 bytes: the last frame
//
// Limits never shrink. The first frame about a stream opens it and those of its kind with lower numbers. Frames about streams
// that are over are ignored. All else that a limit or the kind of a stream forbids closes the connection with a code.
//
// A peer can make this side hold what the windows of its streams allow, as over QUIC, and 16 MiB more on a connection for
// streams whose readers keep up with a long path. At most 256 handshakes of a listener are in progress, for the handshake
// timeout each. Writes of a stream wait while 64 KiB of it are queued; 64 KiB are encrypted at a time and, on Linux, 32 KiB wait in
// the kernel unsent (TCP_NOTSENT_LOWAT), so that what is urgent waits for no more than that.
//
// The multiplexer is our own because none has what the streams of a call need: yamux (hashicorp, libp2p) and smux have one kind
// of stream, a reset that ends both directions, and no urgency.
//
// # What was measured and chosen
//
// A stream for each call costs 12 wake-ups of goroutines, 4 packets and 60 to 70 allocations: 108 000 calls a second where
// a lane carries 430 000. So small unary calls share lanes. Whoever finds a lane idle writes for all who come meanwhile,
// first without a goroutine: a write that the stream takes at once (TryWriteAll) saves the switch, which is the latency of
// a single call. Nobody waits for a timer.
//
// A stream for each message of 16 to 256 KiB put up to 1 MiB in flight on loopback: quic-go drops what exceeds 256 packets
// that a connection has not looked at, and slows down as after a loss. 64 callers of 16 KiB had 300 calls a second, and 9 000
// on a wide lane, whose window is the bound. So messages up to 256 KiB share wide lanes on short paths, and a large call
// counts as several when the load of a connection is asked for. On longer paths one window is too little, and each has its
// own stream.
//
// Between processes of one host a payload costs packets although both could read the same memory. So requests and responses on
// lanes from 4 KiB on travel as handles of shared memory once there is some ([Conn.SetMemory]): 16 KiB of random bytes take a
// fifth of the CPU that packets take, 100 KiB a tenth. Calls with streams of their own do not: what is on a stream that
// is reset may never be read, and would never be given back.
//
// On a path with 20 ms and 1 % loss the 90th percentile on one lane was 36.7 ms, on four 22.9, on a stream for each call
// 22.7. So a connection spreads calls over four lanes from 2 ms of round trip on, and gives each its own stream from 5 ms
// and 0.5 % loss on (TestHowSmallCallsTravel).
//
// # Bulk gives way
//
// TLS over TCP takes as much CPU as QUIC for small calls, 0.9 to 1.4 times less, and half of it for bulk, 1.7 to 2.4 times less
// (BenchmarkEcho, BenchmarkBulk; a machine that was busy otherwise). QUIC is preferred all the same: a lost packet holds up the
// streams that it is of, and not all of them, and a connection is set up in one round trip less. Bulk and calls have a
// connection each over TCP too. One for each class would let urgent calls overtake large ones in the kernel as well: beside four
// callers that echo 1 MiB they took 0.8 ms on one connection and 0.03 ms on another, but over QUIC 2.1 and 0.04 ms
// (BenchmarkUrgent). So TCP is no worse there than QUIC, which has one connection for all but bulk, and TCP has the same.
//
// Priorities order only what waits in the sender. What keeps the queues behind it short is the credit that the receiver of
// bulk streams grants, all streams from a host together. It is a window that follows LEDBAT (RFC
// 6817) in what it wants, no more than 2 to 5 ms of queue that it makes itself and way for everybody who makes a longer one, and
// FAST TCP in how it gets there: every round trip it is multiplied with the root of the wanted round trip over the one seen.
// Without the root it overshot, because a change shows two round trips later: calls beside it had a p99 of 39 ms instead of 27.
//
// A window for each connection was worse. A transfer begins and ends streams on several connections, and what one of them left
// the others took, while it kept the right to as much: beside transfers of 1 to 4 MiB over six connections small calls had a
// p99 of 38 ms, and bulk had 77 %. The window
// is never more than 1.1 times what the goodput needs, because the least round trip of an interval does not tell of a queue that
// comes and goes: with twice as much the p99 was 36 ms. So it is 29 ms, and bulk has 93 % (TestBulkThatComesAndGoes). On a lossy path
// congestion control bounds each connection at another rate; with equal parts of the window an object had 53 to 80 % of a link with
// 1 % loss, with parts by what each stream has of the goodput 88 to 93 %.
//
// The receiver needs no clock of the sender and no pings: its credit frames are acknowledged in the data packets that they let
// go, so that each, eight in a window, measures a round trip with the queue of the data in it. The least of an interval
// counts. On a simulated link of 100 Mbit/s and 20 ms a small call takes 23.8 ms (p99 24.4) beside bulk with 97 % of the link,
// whether the queue has room for 20 or for 200 ms, one connection or three, and whoever sends (TestBulkHardlyShows). Before, with
// goodput x (1.25 round trips + 2 ms) and at least 256 KiB for each connection, three connections filled every queue, and new
// streams sent 256 KiB at once; now it is 32 KiB, less than congestion control begins with.
//
// Alone, the window doubles every round trip until there is a queue: 85 % of 100 Mbit/s at 20 ms after 0.4 s, at 100 ms after
// 1.5 s, most of which congestion control takes (TestBulkAloneFillsThePathSoon). Beside others who fill the queue it falls to
// [Config.BulkFloor] within about a second, and is back a second after they end (TestBulkKeepsItsFloor). Random loss is no queue:
// at 1 % the window stays above the congestion window, and four connections have 24 to 32 % of that link where one has 8
// (TestBulkOverALossyPath).
//
// What the round trip is without a queue, all connections to a host learn together: the least of ten seconds. When none as short
// was seen for that long they all halve what they take for three round trips, and the least then is the new one. Each for
// itself, they would take the queue of the others for the path, and make it longer by 5 ms every ten seconds. So a path that
// becomes longer is learned after ten seconds, in which bulk has little, and a shorter one at once
// (TestBulkLearnsAnotherPath). A queue that others always keep becomes part of the path in the same way: bulk then adds its 5 ms
// to it. Other processes drain at other times, so that theirs is such a queue.
//
// Below 1 ms of round trip the processors are what takes time, and the window is goodput x (1.25 round trips + 2 ms) as before:
// without the 2 ms loopback had 0.8 of the goodput.
//
// Other classes need none, because of an invariant on windows:
//
//	(MaxStreams + 21 long-lived streams + 64 unidirectional ones) x 128 KiB <= connection window
//
// from the first byte on, so that data which nobody reads, on however many streams, leaves the others their windows
// (TestUnreadCallsStallNobody). Towards an acceptor a stream that is read as fast as it fills may grow to 512 KiB, within the same
// connection window: with 128 KiB one upload had 40 % of 100 Mbit/s at 20 ms, now 97 % (TestOneUploadFillsThePath). So the others keep
// their windows unless 250 such streams stop being read at once.
//
// A cold connection and its first call take 2.00 round trips, a resumed one with early data ([Config.EarlyData]) 1.00, and 2.00
// when the server refuses it, exact in simulation: nothing in a first flight waits for the hello of the peer
// (TestRoundTripsOfTheFirstCall, TestRefusedEarlyDataIsSentAgain). A refused flight is written again on the same streams below
// everything that uses them. A certificate chain above 3.6 KB costs a cold connection another round trip (RFC 9000, section 8.1).
//
// An idle connection on which a call has been made cost 304 KB and 18 goroutines, both ends together: a lane held 32 KiB to
// read into. With 2 KiB until much arrives it is 117 KB of heap, 48 KB of stack and 14 goroutines, 6 of which are quic-go's
// (TestIdleConnectionIsCheap). A connection whose calls have done nothing but wait for five seconds pings its peer every
// 2.5 seconds instead of twice a second, as most connections of a server with many subscribers do
// (TestSubscriptionsCostLittle). Of the heap about 100 KB are quic-go's and those of crypto/tls; a UDP socket for each
// dialed connection takes 17 KB of it, for packets to read into, and two goroutines.  When a path stops carrying packets of
// the size that was found, acknowledgements still arrive, and nothing else. So a side with calls in progress pings its peer
// every second, and one that has not answered for two seconds, although packets arrive, counts as silent: the client moves
// to another socket, at which the server begins with 1200 bytes again, and calls go on after 3 s. What the client sends
// begins anew only with a connection: this one ends after twice SilenceTimeout. All begin with 1200 bytes, because 1280, where
// quic-go begins, do not pass a path whose MTU is 1280.
//
// # Traps
//
// Of QUIC and of quic-go, each with the test that fails when we fall into it again:
//
//	100 streams are the default limit                       TestManyCallStreamsAtOnce
//	a stream counts until both directions have ended        TestStreamCreditComesBack
//	unread data uses up the connection window               TestUnreadCallsStallNobody
//	a reset overtakes the status written before it          TestEarlyResponseReachesABlockedSender
//	closing drops what is unsent and unread                 TestDrainLosesNothing
//	small packets are not answered by a stateless reset     TestRestartedServerResetsItsClients
//	keep-alives do not notice a dead peer in time           TestSilentPeerIsNoticed
//	a read deadline looks like the end of the connection    TestStalledRequestEnds
//	strict priority starves what is below                   TestBulkYields
//	what is queued at the end of a call needs credit too    TestResponseWaitsForCredit
//	AddPath sends nothing while the window is full          TestCallsSurviveAChangeOfAddress
//	a packet size that was found is never lowered           TestCallsGoOnWhenLargePacketsVanish (bench/netlab)
//	a send error ends the connection                        TestSendErrorsAreLostPackets
//	nothing keeps early data from being replayed            TestReplayedEarlyData
package streams
