// Package netlab emulates a network link between two network namespaces of Linux.
//
// It exists to measure and to test transports over a path with delay, loss and a bottleneck, on a machine that has no
// netem and to a user who is not root. A [Lab] has two hosts, each with a network namespace of its own, and an emulator
// between them. The sockets of both hosts are ordinary sockets of the kernel and may be used side by side in one process.
//
// # Usage
//
//	func main() {
//		if err := netlab.Enter(); err != nil { // first thing; may run the program again inside namespaces
//			log.Fatal(err)
//		}
//		lab, err := netlab.New(netlab.Config{Link: netlab.Link{Delay: 10 * time.Millisecond, Loss: 0.01}})
//		...
//		defer lab.Close()
//		server, err := lab.Right.ListenPacket(ctx, ":4433") // a *net.UDPConn
//		client, err := lab.Left.ListenPacket(ctx, "")
//
// # How it works
//
// Each namespace has a pair of virtual Ethernet devices. The host's addresses are on one of them; the emulator has a packet
// socket on the other one. (TUN devices would do as well, but /dev/net/tun is often closed to ordinary users, and a TUN
// device takes one system call per packet.) Offloads of the devices are switched off, so that the kernel cuts the super
// packets of TCP and of UDP segmentation offload into packets with complete checksums before the emulator gets them.
//
// The emulator is a process of its own: the same program, started once more, which [Enter] turns into an emulator. So
// neither the Go scheduler nor the garbage collector of the measured program delays packets, and the CPU time of the
// measured program (getrusage of itself) has no part of the emulator in it.
//
// A packet passes these stages of its direction, in this order: black hole, MTU, loss, the queue in front of the
// bottleneck, transmission at the rate, delay, jitter. Loss is drawn before the queue, for each packet that arrives, so that the
// fate of the n-th packet depends on the seed and n alone, but a lost packet still takes its time at the bottleneck. The
// bottleneck is computed with virtual finish times from the kernel's time stamps of arrival: it loses no rate when the
// emulator wakes up late, and a late wake-up before the departure of a packet does not delay it.
//
// # Accuracy and capacity
//
// No packet leaves early. How late it leaves is in [Stats]. Packets that follow each other closely leave together, at most
// 0.15 ms or a 64th of the delay late, as with the interrupts of a network card.
//
// What follows was measured on a virtual machine with two cores, whose system calls take more than a microsecond. Packets
// were late by 0.05 to 0.15 ms in the mean when the emulator ran in real time ([Lab.RealTime]); an echo over 5 ms took
// 5.2 ms in the median. While ten times as many threads as cores wanted to run, single packets were still as punctual in the
// median, but of the packets of a TCP flood 10 to 40 % were more than a millisecond late, and a few 140 ms: a real-time
// thread that did nothing but sleep woke up late there, too (median 0.06 ms, 99 % 1.6 ms, at most 40 ms). An emulator without
// privileges competes for the cores besides. So measure on a machine that is not overloaded, and look at LatePackets
// before you believe a result.
//
// TCP at 300 to 570 Mbit/s in packets of 1500 bytes took the emulator 28 to 44 % of a core, with the work of the kernel for
// the receiving host in it: 6 to 12 microseconds for a packet. Single UDP packets of 1452 bytes at 80 to 230 Mbit/s took 15 to
// 25 microseconds, as fewer of them share a wake-up.
//
//	go test -run xxx -bench Forward -benchtime 100000x ./bench/netlab
//
// measures what a packet costs.
//
// # Concurrency
//
// All functions and methods are safe for concurrent use, but [Enter], which belongs at the start of main or TestMain.
//
// # Ownership
//
// The caller owns the sockets and processes it opens in a host, and ends them. They stay in their namespace when [Lab.Close]
// has returned, but reach nobody any more.
//
// # Limits
//
// IPv4 only. The emulator holds at most [Config.MaxPackets] packets per direction and drops what exceeds them; see
// [Dropped.Overflow].
package netlab
