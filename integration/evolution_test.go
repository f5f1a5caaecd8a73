package integration

import (
	"context"
	"iter"
	"math"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// Two builds of one program: methods of the same name whose messages have changed.
type (
	oldAddress struct {
		Street string
		City   string
	}
	oldOrder struct {
		ID       int32
		Name     string
		Weight   float32
		Gone     bool
		Ship     oldAddress
		Stops    []oldAddress
		ByName   map[string]oldAddress
		Renamed  string `cbor:"old_name,id=7"`
		Optional string
	}

	newAddress struct { // reordered, one field added
		City    string
		Country string `cbor:",default=CH"`
		Street  string
	}
	newOrder struct { // reordered, widened, one field removed, several added
		Name     string
		Weight   float64
		Ship     newAddress
		ID       int64
		Stops    []newAddress
		ByName   map[string]newAddress
		Optional *string
		NewName  string `cbor:"new_name,id=7"`
		Added    []int
		Retries  int `cbor:",default=3"`
	}
)

const evolveName = "integration.v1/Evolve"

var (
	oldUnary = framework.NewUnary[oldOrder, oldOrder](evolveName)
	oldBidi  = framework.NewBidi[oldOrder, oldOrder](evolveName)
	newBidi  = framework.NewBidi[newOrder, newOrder](evolveName)

	// The old build reads what the new one sends where nothing was widened.
	oldPlace = framework.NewUnary[oldAddress, oldAddress](evolveName)
	newPlace = framework.NewUnary[newAddress, newAddress](evolveName)

	// A new server that must answer old clients keeps the type of the response.
	keptUnary = framework.NewUnary[newOrder, oldOrder](evolveName)
)

var (
	home = oldAddress{"Weg 1", "Bern"}
	sent = oldOrder{
		ID: math.MinInt32, Name: "n", Weight: 1.5, Gone: true, Ship: home, Stops: []oldAddress{home, {"a", "b"}},
		ByName: map[string]oldAddress{"home": home}, Renamed: "same id", Optional: "there",
	}
	newHome = newAddress{"Bern", "CH", "Weg 1"}
	there   = "there"
	wanted  = newOrder{
		Name: "n", Weight: 1.5, Ship: newHome, ID: math.MinInt32, Stops: []newAddress{newHome, {"b", "CH", "a"}},
		ByName: map[string]newAddress{"home": newHome}, Optional: &there, NewName: "same id", Retries: 3,
	}
)

func TestANewServerReadsWhatAnOldClientSends(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		got := make(chan *newOrder, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			keptUnary.Handle(r, func(_ context.Context, q *newOrder) (*oldOrder, error) {
				got <- q
				return &oldOrder{Name: "answer"}, nil
			})
		}})
		for range 3 { // the schema inline, then by number
			if r := must(oldUnary.Call(t.Context(), p.client, &sent))(t, "call"); r.Name != "answer" {
				t.Errorf("got %+v", r)
			}
			if q := <-got; !reflect.DeepEqual(*q, wanted) {
				t.Fatalf("got  %+v\nwant %+v", *q, wanted)
			}
		}
	})
}

func TestANewClientReadsWhatAnOldServerSends(t *testing.T) {
	// The request goes the same way in both builds; the response was declared anew.
	oldServer := framework.NewServerStream[oldAddress, oldOrder](evolveName)
	newClient := framework.NewServerStream[newAddress, newOrder](evolveName)
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			oldServer.Handle(r, func(_ context.Context, q *oldAddress, out framework.Sender[oldOrder]) error {
				if *q != home {
					return framework.Errorf(framework.DataLoss, "got %+v", *q)
				}
				for range 3 {
					if err := out.Send(&sent); err != nil {
						return err
					}
				}
				return nil
			})
		}})
		n := 0
		for r, err := range newClient.Call(t.Context(), p.client, &newAddress{"Bern", "dropped", "Weg 1"}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; !reflect.DeepEqual(*r, wanted) {
				t.Fatalf("got  %+v\nwant %+v", *r, wanted)
			}
		}
		if n != 3 {
			t.Errorf("got %d messages", n)
		}
	})
}

func TestAnOldServerAndANewClientUnderstandEachOther(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			oldPlace.Handle(r, func(_ context.Context, q *oldAddress) (*oldAddress, error) { return q, nil })
		}})
		r := must(newPlace.Call(t.Context(), p.client, &newAddress{"Bern", "FR", "Weg 1"}))(t, "call")
		if *r != newHome { // the old server does not know the country and drops it
			t.Errorf("got %+v, want %+v", *r, newHome)
		}
	})
}

func TestAnOldRelayPassesOnWhatItDoesNotKnow(t *testing.T) {
	type oldStop struct {
		Street string
		Rest   codec.Extra
	}
	type oldRoute struct {
		Renamed string `cbor:"name,id=7"`
		Stops   []oldStop
		Rest    codec.Extra
	}
	type newStop struct {
		Street string
		City   string
		At     time.Time
	}
	type newRoute struct {
		Weights []float64
		Stops   []newStop
		Name    string         `cbor:"label,id=7"`
		Owner   string         `cbor:"owner,id=8,required"`
		Seen    map[string]int `cbor:"seen"`
	}
	newest := framework.NewUnary[newRoute, newRoute](evolveName)
	relayed := framework.NewUnary[oldRoute, oldRoute](evolveName)
	everywhere(t, func(t *testing.T, e environment) {
		far := e.start(t, setup{serve: func(r framework.Registrar) {
			newest.Handle(r, func(_ context.Context, q *newRoute) (*newRoute, error) { return q, nil })
		}})
		near := e.start(t, setup{serve: func(r framework.Registrar) {
			relayed.Handle(r, func(ctx context.Context, q *oldRoute) (*oldRoute, error) {
				q.Stops[0].Street += " 1"
				return relayed.Call(ctx, far.client, q)
			})
		}})
		for range 3 { // the schemas inline, then by number
			q := &newRoute{
				Weights: []float64{1, 2, 3, 4, 5, 6, 7, 8.5}, Stops: []newStop{{"Weg", "Bern", time.Unix(5, 6).UTC()}},
				Name: "n", Owner: "o", Seen: map[string]int{"a": 1},
			}
			got := must(newest.Call(t.Context(), near.client, q))(t, "call")
			if q.Stops[0].Street += " 1"; !reflect.DeepEqual(got, q) {
				t.Fatalf("got  %+v\nwant %+v", got, q)
			}
		}
	})
}

func TestIncompatibleMessagesAreRefusedBeforeTheHandlerRuns(t *testing.T) {
	type inner struct{ Price string }
	type textual struct{ Items []inner }
	type innerNumber struct{ Price int64 }
	type numeric struct{ Items []innerNumber }
	type strict struct {
		Items []inner
		Token string `cbor:",required"`
	}
	asText := framework.NewUnary[textual, Number](evolveName)
	asNumber := framework.NewUnary[numeric, Number](evolveName)
	asStrict := framework.NewUnary[strict, Number](evolveName)
	textBack := framework.NewUnary[Number, textual](evolveName)
	numberBack := framework.NewUnary[Number, numeric](evolveName)
	everywhere(t, func(t *testing.T, e environment) {
		for _, c := range []struct {
			name  string
			serve func(r framework.Registrar, ran *atomic.Bool)
			call  func(ctx context.Context, c framework.Caller) error
			words []string
			runs  bool // a response is read after the handler has run
		}{
			{"a request of another type", func(r framework.Registrar, ran *atomic.Bool) {
				asNumber.Handle(r, func(context.Context, *numeric) (*Number, error) { ran.Store(true); return &Number{}, nil })
			}, func(ctx context.Context, c framework.Caller) error {
				_, err := asText.Call(ctx, c, &textual{Items: []inner{{"1"}}})
				return err
			}, []string{evolveName, "request", "Items[].Price", "text", "int64"}, false},
			{"a request without a required field", func(r framework.Registrar, ran *atomic.Bool) {
				asStrict.Handle(r, func(context.Context, *strict) (*Number, error) { ran.Store(true); return &Number{}, nil })
			}, func(ctx context.Context, c framework.Caller) error {
				_, err := asText.Call(ctx, c, &textual{})
				return err
			}, []string{evolveName, "request", "Token", "requires"}, false},
			{"a response of another type", func(r framework.Registrar, ran *atomic.Bool) {
				textBack.Handle(r, func(context.Context, *Number) (*textual, error) { ran.Store(true); return &textual{}, nil })
			}, func(ctx context.Context, c framework.Caller) error {
				_, err := numberBack.Call(ctx, c, &Number{})
				return err
			}, []string{evolveName, "response", "Items[].Price", "text", "int64"}, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				var ran atomic.Bool
				p := e.start(t, setup{serve: func(r framework.Registrar) { c.serve(r, &ran) }})
				for range 2 { // the second time the schema is known
					err := c.call(t.Context(), p.client)
					wantCode(t, "call", err, framework.FailedPrecondition)
					wantWords(t, "call", err, c.words...)
				}
				if ran.Load() != c.runs {
					t.Errorf("the handler has run: %v", ran.Load())
				}
			})
		}
	})
}

func TestLaterMessagesEvolveToo(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		got := make(chan *newOrder, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			newBidi.Handle(r, func(_ context.Context, in iter.Seq2[*newOrder, error], _ framework.Sender[newOrder]) error {
				for q, err := range in {
					if err != nil {
						return err
					}
					got <- q
				}
				return nil
			})
		}})
		b := must(oldBidi.Open(t.Context(), p.client))(t, "Open")
		defer b.Close()
		for range 3 {
			if err := b.Send(&sent); err != nil {
				t.Fatal(err)
			}
			if q := <-got; !reflect.DeepEqual(*q, wanted) {
				t.Fatalf("got  %+v\nwant %+v", *q, wanted)
			}
		}
		endWell(t, b)
	})
}

// A point as a key of a map has no positional form: the message travels as self-describing CBOR.
type (
	point       struct{ X, Y int }
	plainOnly   struct{ Cells map[point]string }
	genericList struct {
		Name  string
		Extra map[point]int
	}
	described struct {
		Name  string
		Added int
	}
)

func TestMessagesWithoutASchemaTravelSelfDescribing(t *testing.T) {
	board := framework.NewUnary[plainOnly, plainOnly]("integration.v1/Board")
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			board.Handle(r, func(_ context.Context, q *plainOnly) (*plainOnly, error) { return q, nil })
		}})
		q := &plainOnly{map[point]string{{1, 2}: "a", {-3, 4}: "b"}}
		if r := must(board.Call(t.Context(), p.client, q))(t, "call"); !reflect.DeepEqual(r, q) {
			t.Errorf("got %+v, want %+v", r, q)
		}
	})
}

func TestOnlyOneSideWithASchema(t *testing.T) {
	generic := framework.NewUnary[genericList, Text](evolveName)
	positional := framework.NewUnary[described, Text](evolveName)
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			positional.Handle(r, func(_ context.Context, q *described) (*Text, error) { return &Text{q.Name}, nil })
		}})
		r := must(generic.Call(t.Context(), p.client, &genericList{Name: "by name"}))(t, "self-describing request")
		if r.Text != "by name" {
			t.Errorf("got %q", r.Text)
		}
		other := e.start(t, setup{serve: func(r framework.Registrar) {
			generic.Handle(r, func(_ context.Context, q *genericList) (*Text, error) { return &Text{q.Name}, nil })
		}})
		_, err := positional.Call(t.Context(), other.client, &described{"by position", 1})
		wantCode(t, "positional request", err, framework.FailedPrecondition)
		wantWords(t, "positional request", err, evolveName, "request", "generic form", "Extra")
	})
}
