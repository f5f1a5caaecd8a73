package main

import (
	"bufio"
	"debug/buildinfo"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// host is where and with what the figures were obtained.
type host struct {
	CPU               string  `json:"cpu"`
	Cores             int     `json:"cores"`
	MaxProcs          int     `json:"gomaxprocs"`
	OS                string  `json:"os"`
	Go                string  `json:"go"`
	Commit            string  `json:"commit"` // with "-dirty" when the checkout has changes
	Date              string  `json:"date"`
	DurationMillis    int64   `json:"round_ms"`
	Rounds            int     `json:"rounds"`
	UDPReceiveBytes   int     `json:"udp_receive_buffer_bytes"` // granted of the requested 7 MiB
	UDPSendBytes      int     `json:"udp_send_buffer_bytes"`
	GSO               string  `json:"gso"`             // on, off (by the environment), unsupported
	StalledPercent    float64 `json:"stalled_percent"` // of the time, a busy loop did not run before the measurements
	HelloBytes        int64   `json:"hello_server_bytes,omitzero"`
	HelloModules      int     `json:"hello_server_modules,omitzero"` // that the binary contains, besides ours
	LongestStallMilli float64 `json:"longest_stall_ms"`
	OthersPercent     float64 `json:"others_cpu_percent"` // of the machine's CPU time, used by others during the measurements
}

const (
	udpBufferBytes = 7 << 20
	helloPackage   = "bench/hello" // a smallest server, in the root module
)

// inspectHost gathers what can be found out; what cannot is left empty.
func inspectHost(root string, p *plan) host {
	h := host{
		CPU: cpuName(), Cores: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0), OS: osName(), Go: runtime.Version(), Commit: commit(root),
		Date: time.Now().UTC().Format(time.RFC3339), DurationMillis: p.duration.Milliseconds(), Rounds: p.rounds,
	}
	h.UDPReceiveBytes, h.UDPSendBytes, h.GSO = udpState()
	h.StalledPercent, h.LongestStallMilli = stalls(200 * time.Millisecond)
	if dir := filepath.Join(root, helloPackage); root != "" && exists(dir) {
		var err error
		if h.HelloBytes, h.HelloModules, err = measureBuild(dir); err != nil {
			fmt.Fprintln(p.progress, err)
		}
	}
	return h
}

func (h *host) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, %d cores, %s, %s, commit %s, %s\n"+
		"UDP buffers granted: receive %s, send %s; GSO %s; GOMAXPROCS %d\n"+
		"machine noise: others used %.1f %% of the CPU time meanwhile; before, a busy loop stalled %.1f %% of the time, %.1f ms at most\n"+
		"%d rounds of %d ms for each row: medians; server, client and harness in one process over loopback\n",
		h.CPU, h.Cores, h.OS, h.Go, h.Commit, h.Date, size(h.UDPReceiveBytes), size(h.UDPSendBytes), h.GSO,
		h.MaxProcs, h.OthersPercent, h.StalledPercent, h.LongestStallMilli, h.Rounds, h.DurationMillis)
	if err == nil && h.HelloBytes > 0 {
		_, err = fmt.Fprintf(w, "hello-world server: %.1f MB binary, %d modules besides ours\n", float64(h.HelloBytes)/1e6, h.HelloModules)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// measureBuild builds the main package in dir and returns the size of the binary and how many modules it contains
// besides its own.
func measureBuild(dir string) (bytes int64, modules int, err error) {
	tmp, err := os.MkdirTemp("", "mycel-bench")
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "hello")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("bench: build the hello-world server: %w\n%s", err, out)
	}
	stat, err := os.Stat(binary)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return 0, 0, fmt.Errorf("bench: %w", err)
	}
	return stat.Size(), len(info.Deps), nil
}

// repositoryRoot returns the directory of Mycel's module, seen from the working directory, or "".
func repositoryRoot() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/mycel-rpc/mycel").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func commit(root string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	hash, err := git("rev-parse", "--short=12", "HEAD")
	if root == "" || err != nil {
		return "unknown"
	}
	if changes, err := git("status", "--porcelain"); err != nil || changes != "" {
		hash += "-dirty"
	}
	return hash
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return runtime.GOARCH
}

func osName() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(release))
}

// udpState asks a socket for the buffers that a QUIC connection wants, with privilege if there is any, and reports
// what it got and whether the kernel segments datagrams.
func udpState() (receiveBytes, sendBytes int, gso string) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, 0, "unknown"
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, "unknown"
	}
	const (
		soSendBufferForce, soReceiveBufferForce = 32, 33 // SO_SNDBUFFORCE, SO_RCVBUFFORCE
		udpSegment                              = 103    // UDP_SEGMENT
	)
	grant := func(fd int, option, force int) int {
		if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, force, udpBufferBytes) != nil {
			_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, option, udpBufferBytes) // what was granted is read back
		}
		doubled, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, option)
		if err != nil {
			return 0
		}
		return doubled / 2 // socket(7): "The kernel doubles this value"
	}
	gso = "unsupported"
	_ = raw.Control(func(fd uintptr) { // fails only on a closed socket
		receiveBytes = grant(int(fd), syscall.SO_RCVBUF, soReceiveBufferForce)
		sendBytes = grant(int(fd), syscall.SO_SNDBUF, soSendBufferForce)
		if _, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_UDP, udpSegment); err == nil {
			gso = "on"
		}
	})
	if gso == "on" && os.Getenv("QUIC_GO_DISABLE_GSO") == "true" {
		gso = "off"
	}
	return receiveBytes, sendBytes, gso
}
