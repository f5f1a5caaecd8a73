package streams

import (
	"net"
	"os"
	"sync"

	"go.uber.org/zap"
)

// wantBufferBytes is what quic-go asks the kernel for: what arrives at 10 Gbit/s in the 6 ms that a process may have to wait
// for a processor.
const wantBufferBytes = 7 << 20

var buffersOnce sync.Once

// quietBuffers keeps quic-go from printing its own warning about buffers to the standard error stream, which it can only be
// told through the environment. It is called before quic-go sees a socket.
var quietBuffers = sync.OnceFunc(func() {
	const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	if _, set := os.LookupEnv(name); !set {
		_ = os.Setenv(name, "true") // fails only for names that are none
	}
})

// warnOfBuffers says once for each process that the host has refused the buffers which quic-go has asked for.
func warnOfBuffers(log *zap.Logger, socket net.PacketConn) {
	conn, ok := socket.(*net.UDPConn)
	if !ok {
		return
	}
	receive, send := bufferBytes(conn)
	if receive >= wantBufferBytes && send >= wantBufferBytes || receive == 0 || send == 0 {
		return
	}
	buffersOnce.Do(func() { sayBuffers(log, receive, send) })
}

func sayBuffers(log *zap.Logger, receive, send int) {
	log.Warn("UDP buffers are smaller than asked for: packets are lost when much arrives at once; raise sysctl net.core.rmem_max and net.core.wmem_max",
		zap.Int("want_bytes", wantBufferBytes), zap.Int("receive_bytes", receive), zap.Int("send_bytes", send))
}
