package codecs

import "fmt"

//go:generate go tool msgp -tests=false -io=false -o messages_gen.go
//go:generate sh -c "protoc -I codecspb --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --go_out=codecspb --go_opt=paths=source_relative codecs.proto"

// Call is a small call of five fields: 28 bytes in Mycel's positional form.
type Call struct {
	Method string
	ID     uint64
	Key    string
	N      int64
	OK     bool
}

// newerCall is what a newer writer sends to a reader that knows [Call]: other order, one field gone, two added.
//
//msgp:ignore newerCall
type newerCall struct {
	Key    string
	Method string
	Note   string
	ID     uint64
	OK     bool
	Extra  []string
}

// Envelope is a typical call of 2 KB.
type Envelope struct {
	Type, From, To, Method, Session string
	Seq                             uint64
	Deadline                        int64
	Args                            Args
}

// Args are the arguments in an [Envelope].
type Args struct {
	Name    string
	Count   int64
	Flag    bool
	Ratio   float64
	Items   []Item
	Samples []float64
	Labels  map[string]string
}

// Item is one of the structures in [Args].
type Item struct {
	ID    int64
	Label string
	X, Y  float64
	Tags  []string
}

// Samples is a series of measured values.
type Samples struct{ V []float64 }

func newCall() *Call {
	return &Call{Method: "users.Get", ID: 918273645, Key: "user/4711", N: -3, OK: true}
}

func newNewerCall() *newerCall {
	c := newCall()
	return &newerCall{Key: c.Key, Method: c.Method, Note: "a note", ID: c.ID, OK: c.OK, Extra: []string{"x", "y"}}
}

func newSamples() *Samples {
	s := &Samples{}
	for i := range 128 {
		s.V = append(s.V, float64(i*i%997)/7.3)
	}
	return s
}

func newEnvelope() *Envelope {
	e := &Envelope{
		Type: "method", From: "tenant-17/client-01", To: "tenant-17/worker-22", Method: "imaging.v1/Segment",
		Session: "b9c1f0de5a7748d1", Seq: 918273645, Deadline: 1767225600123456789,
		Args: Args{
			Name: "plate-0042/well-C07", Count: 70000, Flag: true, Ratio: 0.7312499,
			Samples: newSamples().V,
			Labels: map[string]string{
				"region": "eu-north-1", "tenant": "acme", "build": "2026.01.17", "stage": "prod",
				"owner": "imaging", "trace": "on",
			},
		},
	}
	for i := range 16 {
		e.Args.Items = append(e.Args.Items, Item{
			ID: int64(i)*1717 + 3, Label: fmt.Sprintf("object-%03d", i), X: float64(i) * 1.61803, Y: 100 / (float64(i) + 1.1),
			Tags: []string{"cell", fmt.Sprintf("class-%d", i%4)},
		})
	}
	return e
}
