package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
)

const (
	contentRing    = 4096 // dashboards, batches and heads that are made once; more than a table has slots, and than it has seen
	contentBytes   = 2 << 10
	sensorRows     = 64
	sensorAlarms   = 40
	configPool     = 48
	configOptions  = 60
	contentLogSize = 24 << 20
)

// contentSamples are what the messages of the scenario "content" are made of, the same in each run. Message n is a function of
// n alone, so that all transports send the same. What must not repeat does not: texts, compressed and random bytes begin
// elsewhere each time that their pool is used up.
type contentSamples struct {
	dashboards []Dashboard
	sensors    []SensorBatch
	configs    []ServiceConfig
	popular    []uint8  // indexes of configs, drawn from a Zipf distribution
	traces     []string // of heads
	nodes      []string
	log        string
	lines      []int // where they begin in log
	packed     []byte
}

// contents returns the samples of this process.
var contents = sync.OnceValue(newContentSamples)

func newContentSamples() *contentSamples {
	r := rand.New(rand.NewPCG(7, 42))
	s := &contentSamples{}
	s.makeDashboards(r)
	for n := range contentRing {
		s.sensors = append(s.sensors, newSensorBatch(r, n))
	}
	for n := range configPool {
		s.configs = append(s.configs, newServiceConfig(r, n))
	}
	zipf := rand.NewZipf(r, 1.1, 4, configPool-1)
	for range contentRing {
		s.popular = append(s.popular, uint8(zipf.Uint64()))
		s.traces = append(s.traces, fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
		s.nodes = append(s.nodes, fmt.Sprintf("node-%d.rack-%d.example.com", r.IntN(40), r.IntN(8)))
	}
	s.makeLog(r)
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		panic("bench: " + err.Error()) // the level is a constant
	}
	_, _ = w.Write([]byte(s.log)) // a buffer takes everything
	_ = w.Close()
	s.packed = packed.Bytes()
	return s
}

// makeDashboards makes dashboards, each of which differs from the one before it in two or three of its 48 figures and in
// its revision.
func (s *contentSamples) makeDashboards(r *rand.Rand) {
	d := Dashboard{Region: "eu-central-1"}
	v := reflect.ValueOf(&d).Elem()
	const first = 2 // revision and region
	change := func(i int) {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			f.SetInt(r.Int64N(1 << 31))
		case reflect.Float64:
			f.SetFloat(r.Float64() * 1000)
		default:
			f.SetString(fmt.Sprintf("%s-%06x", pick(r, states), r.IntN(1<<24)))
		}
	}
	for i := first; i < v.NumField(); i++ {
		change(i)
	}
	for range contentRing {
		for range 2 + r.IntN(2) {
			change(first + r.IntN(v.NumField()-first))
		}
		s.dashboards = append(s.dashboards, d)
	}
}

var states = []string{"healthy", "degraded", "starting"}

func newSensorBatch(r *rand.Rand, n int) SensorBatch {
	start := int64(1_768_636_800_000_000_000) + int64(n)*sensorRows*1_000_000_000
	b := SensorBatch{Device: fmt.Sprintf("plant-7/line-%d/press-%02d", n%3, n%16)}
	at, temperature := start, 21.5+r.NormFloat64()
	for range sensorRows {
		at += 1_000_000_000 + r.Int64N(2_000_000) - 1_000_000
		temperature += float64(r.IntN(7)-3) / 100
		b.Times = append(b.Times, at)
		b.Temperature = append(b.Temperature, cents(temperature))
		b.Voltage = append(b.Voltage, math.Round((3.3+r.NormFloat64()*0.02)*1000)/1000)
		b.Vibration = append(b.Vibration, r.NormFloat64()*9.81)
	}
	at = start / 1_000_000
	for range sensorAlarms {
		at += r.Int64N(3000)
		b.Alarms = append(b.Alarms, Reading{TimeMillis: at, Value: cents(80 + r.NormFloat64()*15), Channel: uint8(r.IntN(12)), Valid: r.IntN(20) > 0})
	}
	return b
}

func newServiceConfig(r *rand.Rand, n int) ServiceConfig {
	c := ServiceConfig{Name: fmt.Sprintf("service-%02d", n), Version: r.Uint32N(1000)}
	for i := range configOptions {
		c.Options = append(c.Options, ConfigOption{fmt.Sprintf("section.%02d.option", i), fmt.Sprintf("%x/%x/%d", r.Uint64(), r.Uint64(), r.IntN(1000))})
	}
	return c
}

// makeLog makes the log of a service: a few templates with numbers in them.
func (s *contentSamples) makeLog(r *rand.Rand) {
	levels := []string{"INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"}
	templates := [][3]string{
		{"request served path=/api/v2/items/", " status=200 bytes=", ""},
		{"cache miss key=user:", " ttl=", ""},
		{"retrying upstream node-", " attempt=", ""},
		{"slow query table=orders rows=", " took_ms=", ""},
		{"session closed id=", " reason=", ""},
	}
	b := make([]byte, 0, contentLogSize+256)
	for ms := 0; len(b) < contentLogSize; ms += r.IntN(40) {
		s.lines = append(s.lines, len(b))
		b = append(b, "2026-01-17T08:"...)
		for _, part := range []struct {
			n, digits int
			sep       byte
		}{{ms / 60000 % 60, 2, ':'}, {ms / 1000 % 60, 2, '.'}, {ms % 1000, 3, 'Z'}} {
			for limit := pow10(part.digits - 1); limit > 1 && part.n < limit; limit /= 10 {
				b = append(b, '0')
			}
			b = append(strconv.AppendInt(b, int64(part.n), 10), part.sep)
		}
		b = append(append(append(b, ' '), pick(r, levels)...), " svc=gateway-"...)
		b = append(strconv.AppendInt(b, int64(r.IntN(8)), 10), ' ')
		t := templates[r.IntN(len(templates))]
		b = strconv.AppendInt(append(b, t[0]...), int64(r.IntN(1<<20)), 10)
		b = strconv.AppendInt(append(b, t[1]...), int64(r.IntN(9999)), 10)
		b = append(b, '\n')
	}
	s.log = string(b)
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// The functions below make message n out of v, and tell what was received. A sum depends on everything that the message has.

func fillDashboard(n uint64, v *Dashboard) {
	*v = contents().dashboards[n%contentRing]
	v.Revision = n
}

func sumDashboard(v *Dashboard) uint32 {
	s := mix(0, v.Revision)
	for _, t := range []struct {
		count int64
		rate  float64
		state string
	}{
		{v.OrdersCount, v.OrdersRate, v.OrdersState}, {v.PaymentsCount, v.PaymentsRate, v.PaymentsState},
		{v.RefundsCount, v.RefundsRate, v.RefundsState}, {v.CartsCount, v.CartsRate, v.CartsState},
		{v.SearchesCount, v.SearchesRate, v.SearchesState}, {v.LoginsCount, v.LoginsRate, v.LoginsState},
		{v.SignupsCount, v.SignupsRate, v.SignupsState}, {v.EmailsCount, v.EmailsRate, v.EmailsState},
		{v.UploadsCount, v.UploadsRate, v.UploadsState}, {v.DownloadsCount, v.DownloadsRate, v.DownloadsState},
		{v.QueuesCount, v.QueuesRate, v.QueuesState}, {v.WorkersCount, v.WorkersRate, v.WorkersState},
		{v.CachesCount, v.CachesRate, v.CachesState}, {v.ReplicasCount, v.ReplicasRate, v.ReplicasState},
		{v.BackupsCount, v.BackupsRate, v.BackupsState}, {v.SensorsCount, v.SensorsRate, v.SensorsState},
	} {
		s = mix(mix(mix(s, uint64(t.count)), math.Float64bits(t.rate)), sumText(t.state))
	}
	return fold(s)
}

func fillSensors(n uint64, v *SensorBatch) {
	*v = contents().sensors[n%contentRing]
	v.ID = n
}

func sumSensors(v *SensorBatch) uint32 {
	s := mix(v.ID, sumText(v.Device))
	for _, a := range v.Alarms {
		s = mix(mix(s, uint64(a.TimeMillis)), math.Float64bits(a.Value)+uint64(a.Channel))
	}
	for _, t := range v.Times {
		s = mix(s, uint64(t))
	}
	for _, column := range [][]float64{v.Temperature, v.Voltage, v.Vibration} {
		for _, x := range column {
			s = mix(s, math.Float64bits(x))
		}
	}
	return fold(s)
}

func fillConfig(n uint64, v *ConfigPush) {
	s, i := contents(), n%contentRing
	*v = ConfigPush{ID: n, AtMicros: 1_768_636_800_000_000 + int64(n)*7919, Trace: s.traces[i], Node: s.nodes[i], Service: s.configs[s.popular[i]]}
}

func sumConfig(v *ConfigPush) uint32 {
	s := mix(mix(v.ID, uint64(v.AtMicros)), sumText(v.Trace)+sumText(v.Node)+sumText(v.Service.Name))
	for _, o := range v.Service.Options {
		s = mix(s, sumText(o.Key)^bits.RotateLeft64(sumText(o.Value), 1))
	}
	return fold(s)
}

func fillLog(n uint64, v *LogBatch) {
	s := contents()
	const lines = 27 // about contentBytes
	perPass := uint64(len(s.lines)/lines - 2)
	from := int(n%perPass)*lines + int(n/perPass*7%lines)
	*v = LogBatch{ID: n, Source: s.nodes[n%16], Text: s.log[s.lines[from]:s.lines[from+lines]]}
}

func sumLog(v *LogBatch) uint32 { return fold(mix(v.ID, sumText(v.Text)+sumText(v.Source))) }

func fillCompressed(n uint64, v *Bytes) { *v = Bytes{ID: n, Data: window(contents().packed, n)} }
func fillRandom(n uint64, v *Bytes)     { *v = Bytes{ID: n, Data: window(samples().random, n)} }

// window returns the n-th part of a pool. Parts of later passes begin at another place.
func window(pool []byte, n uint64) []byte {
	perPass := uint64(len(pool)/contentBytes - 1)
	at := int(n%perPass)*contentBytes + int(n/perPass*13%contentBytes)
	return pool[at : at+contentBytes : at+contentBytes]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumBytes(v *Bytes) uint32 { return crc32.Update(uint32(v.ID), castagnoli, v.Data) }

var textSeed = maphash.MakeSeed() // both ends are in this process

func sumText(s string) uint64 { return maphash.String(textSeed, s) }

func mix(s, v uint64) uint64 { return bits.RotateLeft64(s, 5)*0x9e3779b97f4a7c15 ^ v }

func fold(s uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], s)
	return crc32.Checksum(b[:], castagnoli)
}
