package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
	"github.com/mycel-rpc/mycel/bench/peers/codecs"
)

// errLab is why there are no labs, if there are none.
var errLab = errors.New("netlab.Enter has not been called")

func main() {
	if transport := os.Getenv(remoteVariable); transport != "" {
		if err := serveRemote(transport, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if labNeeded(os.Args[1:]) {
		errLab = netlab.Enter()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

const usageText = `Usage: go run ./bench [flags]

Measures remote calls over Mycel and over WebSocket with MessagePack, in one process over loopback, round by round in
turn, and prints the medians and by how much Mycel is better. Without flags it gives an overview within a minute;
for figures to rely on, use -duration 2s -rounds 5 and a quiet machine.

`

// run is the program. The report goes to out, everything else to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	var (
		scenarioNames  = flags.String("scenario", "", "comma-separated `names` of scenarios (default all but those only when named; see -list)")
		transportNames = flags.String("transport", "", "comma-separated `names` of transports (default all but those only when named; see -list); codec and transfer have none")
		duration       = flags.Duration("duration", 150*time.Millisecond, "length of a round of one transport, larger than zero")
		warmup         = flags.Duration("warmup", 100*time.Millisecond, "length of the round before the first, which is not counted; zero for none")
		rounds         = flags.Int("rounds", 3, "rounds, of which the median is reported; at least 1")
		clients        = flags.Int("clients", 10_000, "idle `clients` of connections, as far as the limit of file descriptors allows")
		pathNames      = flags.String("path", "", "comma-separated `paths` of wan, as 20ms-1% (default all)")
		jsonFile       = flags.String("json", "", "also write the report to `file`")
		cpuProfile     = flags.String("cpuprofile", "", "write a CPU profile to `file`; best with one scenario and one transport")
		list           = flags.Bool("list", false, "list scenarios and transports, and exit")
	)
	flags.Usage = func() {
		fmt.Fprint(progress, usageText)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		return writeList(out)
	}
	if *duration <= 0 || *rounds < 1 || *warmup < 0 || *clients < 1 || flags.NArg() > 0 {
		return fmt.Errorf("bench: need -duration > 0 (is %v), -rounds >= 1 (is %d), -warmup >= 0 (is %v), -clients >= 1 (is %d) and no arguments (are %q)",
			*duration, *rounds, *warmup, *clients, flags.Args())
	}
	p := &plan{clients: *clients, rounds: *rounds, duration: *duration, warmup: *warmup, progress: progress}
	var err error
	if p.scenarios, err = chooseScenarios(*scenarioNames); err != nil {
		return err
	}
	if p.transports, err = choose(transports(), *transportNames, func(t transport) string { return t.name }); err != nil {
		return err
	}
	for _, t := range append([]wanTransport{{transport: transport{name: candidate}}}, wanTransports()...) {
		if slices.Contains(names(p.transports), t.name) {
			p.lab = append(p.lab, t)
		}
	}
	if *pathNames != "" {
		p.paths = strings.Split(*pathNames, ",")
	}
	if *transportNames == "" {
		p.transports = slices.DeleteFunc(p.transports, func(t transport) bool { return t.named })
	}
	r := &report{Host: inspectHost(repositoryRoot(), p), Rows: []row{}}
	stopProfile, err := profile(*cpuProfile)
	if err != nil {
		return err
	}
	before := readMachineTime()
	failed := errors.Join(p.run(ctx, r), stopProfile())
	r.Host.OthersPercent = readMachineTime().othersPercent(before)
	r.sort(slices.Concat(names(transports()), []string{smallCall}, codecs.Names()))
	r.summarize()
	r.setLinkTargets()
	return errors.Join(failed, r.write(out, *jsonFile))
}

func (r *report) write(out io.Writer, jsonFile string) error {
	if err := errors.Join(r.Host.write(out), r.writeTable(out), r.writeLinkTargets(out)); err != nil || jsonFile == "" {
		return err
	}
	f, err := os.Create(jsonFile)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return errors.Join(r.writeJSON(f), f.Close())
}

func chooseScenarios(list string) ([]scenario, error) {
	chosen, err := choose(scenarios(), list, func(s scenario) string { return s.name })
	if list == "" {
		chosen = slices.DeleteFunc(chosen, func(s scenario) bool { return s.named })
		for i := range chosen {
			chosen[i].cases = slices.DeleteFunc(chosen[i].cases, func(c benchCase) bool { return c.named })
		}
	}
	return chosen, err
}

// choose returns the elements that a comma-separated list names, in their own order, or all if it is empty.
func choose[T any](all []T, list string, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	var chosen []T
	for _, x := range all {
		if i := slices.Index(wanted, name(x)); i >= 0 {
			chosen = append(chosen, x)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("bench: unknown or repeated names %q; -list shows them", wanted)
	}
	return chosen, nil
}

func names(ts []transport) []string {
	var out []string
	for _, t := range ts {
		out = append(out, t.name)
	}
	return out
}

func writeList(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Scenarios:\n")
	for _, s := range scenarios() {
		fmt.Fprintf(&b, "  %-14s %s\n", s.name, s.about)
	}
	b.WriteString("Transports:\n")
	for _, t := range transports() {
		fmt.Fprintf(&b, "  %-14s %s\n", t.name, t.about)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// profile starts a CPU profile, unless file is "", and returns how to end it.
func profile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
