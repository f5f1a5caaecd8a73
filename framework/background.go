package framework

import (
	"runtime"

	"github.com/mycel-rpc/mycel/framework/internal/content"
)

// background bounds how many goroutines encode and decode large messages of class bulk at the same time, on both sides of
// the process. Where these travel through shared memory nothing else slows them down, and a call of another class, which
// takes ten goroutine switches, waited at each of them behind the copies of several: with four callers of 1 MiB on two
// processors its median was 8.6 ms.
var background = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// backgroundBytes is the size from which a message takes long enough to matter.
const backgroundBytes = 64 << 10

// enterBackground waits for its turn to encode or decode a message of about n bytes, if the class is bulk, and reports
// whether leaveBackground is to be called. Types with methods of their own do not wait: those might do anything.
func enterBackground(k *content.Kind, class Class, n int) bool {
	if class != ClassBulk || n < backgroundBytes || !k.InPlace() {
		return false
	}
	background <- struct{}{}
	return true
}

// enterDecode is enterBackground for a message that has arrived, whose body has n bytes and is encoded as c says. One that may
// have to wait for its peer takes no turn: nobody else's message waits for that.
func enterDecode(k *content.Kind, class Class, c uint8, n int) bool {
	return !content.MayWait(c) && enterBackground(k, class, n)
}

func leaveBackground() { <-background }
