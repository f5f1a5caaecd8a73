package framework_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"net"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

type (
	Query  struct{ Text string }
	Answer struct{ Text string }
)

var (
	Ask   = framework.NewUnary[Query, Answer]("example.v1/Ask", framework.Idempotent(), framework.WithTimeout(time.Minute))
	Watch = framework.NewServerStream[Query, Answer]("example.v1/Watch", framework.WithClass(framework.ClassStream))
	Store = framework.NewClientStream[Query, Answer]("example.v1/Store")
	Talk  = framework.NewBidi[Query, Answer]("example.v1/Talk")
	Tell  = framework.NewUnary[Answer, Answer]("example-client.v1/Tell", framework.Inline())
)

// newExample returns a client of a server in this process, and what ends both.
func newExample(cfg framework.ServerConfig, register func(*framework.Server)) (*framework.Client, func()) {
	srv, err := framework.NewServer(cfg)
	if err != nil {
		log.Fatal(err)
	}
	register(srv)
	c := framework.InProcess(srv)
	return c, func() {
		if err := errors.Join(c.Close(), srv.Close()); err != nil {
			log.Fatal(err)
		}
	}
}

func answer(_ context.Context, q *Query) (*Answer, error) {
	if q.Text == "" {
		return nil, framework.Errorf(framework.InvalidArgument, "no text")
	}
	return &Answer{"you asked " + q.Text}, nil
}

func ExampleNewUnary() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) { Ask.Handle(s, answer) })
	defer closeAll()
	a, err := Ask.Call(context.Background(), c, &Query{"why"})
	fmt.Println(a.Text, err)
	_, err = Ask.Call(context.Background(), c, &Query{})
	fmt.Println(errors.Is(err, framework.InvalidArgument), err)
	// Output:
	// you asked why <nil>
	// true remote: invalid argument: no text
}

func ExampleNewServerStream() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Watch.Handle(s, func(ctx context.Context, q *Query, out framework.Sender[Answer]) error {
			for n := 1; ; n++ { // until the caller leaves its loop: then Send fails
				if err := out.Send(&Answer{fmt.Sprint(q.Text, n)}); err != nil {
					return err
				}
			}
		})
	})
	defer closeAll()
	for a, err := range Watch.Call(context.Background(), c, &Query{"tick"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.Text)
		if a.Text == "tick3" {
			break // cancels the call on the server
		}
	}
	// Output:
	// tick1
	// tick2
	// tick3
}

func ExampleNewClientStream() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Store.Handle(s, func(ctx context.Context, in iter.Seq2[*Query, error]) (*Answer, error) {
			all := ""
			for q, err := range in {
				if err != nil {
					return nil, err
				}
				all += q.Text
			}
			return &Answer{all}, nil
		})
	})
	defer closeAll()
	up, err := Store.Open(context.Background(), c)
	if err != nil {
		log.Fatal(err)
	}
	defer up.Close()
	for _, text := range []string{"a", "b", "c"} {
		if err := up.Send(&Query{text}); err != nil {
			log.Fatal(err)
		}
	}
	a, err := up.CloseAndRecv()
	fmt.Println(a.Text, err)
	// Output: abc <nil>
}

func ExampleNewBidi() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Talk.Handle(s, func(ctx context.Context, in iter.Seq2[*Query, error], out framework.Sender[Answer]) error {
			for q, err := range in {
				if err != nil {
					return err
				}
				if err := out.Send(&Answer{"re: " + q.Text}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	defer closeAll()
	talk, err := Talk.Open(context.Background(), c)
	if err != nil {
		log.Fatal(err)
	}
	defer talk.Close()
	if err := talk.Send(&Query{"hello"}); err != nil {
		log.Fatal(err)
	}
	a, err := talk.Recv()
	fmt.Println(a.Text, err)
	if err := talk.CloseSend(); err != nil {
		log.Fatal(err)
	}
	for a, err := range talk.All() {
		fmt.Println("not reached", a, err)
	}
	// Output: re: hello <nil>
}

func ExamplePeerFrom() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Ask.Handle(s, func(ctx context.Context, q *Query) (*Answer, error) {
			return Tell.Call(ctx, framework.PeerFrom(ctx), &Answer{"halfway"})
		})
	})
	defer closeAll()
	Tell.Handle(c, func(_ context.Context, a *Answer) (*Answer, error) {
		return &Answer{"the client heard " + a.Text}, nil
	})
	a, err := Ask.Call(context.Background(), c, &Query{"x"})
	fmt.Println(a.Text, err)
	// Output: the client heard halfway <nil>
}

func ExampleSetHeader() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Ask.Handle(s, func(ctx context.Context, q *Query) (*Answer, error) {
			return &Answer{}, errors.Join(framework.SetHeader(ctx, "node", "n1"), framework.SetTrailer(ctx, "rows", "7"))
		})
	})
	defer closeAll()
	var header, trailer framework.Metadata
	_, err := Ask.Call(context.Background(), c, &Query{}, framework.HeaderInto(&header), framework.TrailerInto(&trailer))
	fmt.Println(header.Get("node"), trailer.Get("rows"), err)
	// Output: n1 7 <nil>
}

func ExampleServerInterceptor() {
	onlyWithToken := func(next framework.ServerFunc) framework.ServerFunc {
		return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
			if framework.MetadataFrom(ctx).Get("token") != "secret" { // the request has not been decoded yet
				return framework.Errorf(framework.Unauthenticated, "%s needs a token", info.Method)
			}
			return next(ctx, info, s)
		}
	}
	cfg := framework.ServerConfig{Interceptors: []framework.ServerInterceptor{onlyWithToken}}
	c, closeAll := newExample(cfg, func(s *framework.Server) { Ask.Handle(s, answer) })
	defer closeAll()
	_, err := Ask.Call(context.Background(), c, &Query{"why"})
	fmt.Println(err)
	a, err := Ask.Call(framework.WithMetadata(context.Background(), "token", "secret"), c, &Query{"why"})
	fmt.Println(a.Text, err)
	// Output:
	// remote: unauthenticated: example.v1/Ask needs a token
	// you asked why <nil>
}

func ExampleClientInterceptor() {
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	Ask.Handle(srv, answer)
	logged := func(next framework.ClientFunc) framework.ClientFunc {
		return func(ctx context.Context, info *framework.CallInfo) (framework.Stream, error) {
			fmt.Println("calling", info.Method, info.Class)
			return next(ctx, info)
		}
	}
	c, err := framework.InProcessClient(srv, framework.ClientConfig{Interceptors: []framework.ClientInterceptor{logged}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	a, err := Ask.Call(context.Background(), c, &Query{"why"}, framework.WithClass(framework.ClassBulk))
	fmt.Println(a.Text, err)
	// Output:
	// calling example.v1/Ask bulk
	// you asked why <nil>
}

func ExampleServer() {
	serverTLS, clientTLS := framework.DevTLS()
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	Ask.Handle(srv, answer)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0") // srv.ListenAndServe takes a fixed address
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), socket) }()

	c, err := framework.NewClient(socket.LocalAddr().String(), framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Connect(ctx); err != nil { // optional: says now why it would not work
		log.Fatal(err)
	}
	a, err := Ask.Call(ctx, c, &Query{"why"})
	fmt.Println(a.Text, err)
	fmt.Println(srv.Shutdown(ctx), <-served)
	// Output:
	// you asked why <nil>
	// <nil> <nil>
}

// A network that blocks UDP: the client needs no setting to find the server over TCP, which ListenAndServe also serves.
func ExampleServer_ServeTCP() {
	serverTLS, clientTLS := framework.DevTLS()
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	Ask.Handle(srv, answer)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTCP(context.Background(), ln) }()

	c, err := framework.NewClient(ln.Addr().String(), framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := Ask.Call(ctx, c, &Query{"why"})
	fmt.Println(a.Text, err)
	fmt.Println("over", c.Stats().Conns[0].Path.Transport)
	fmt.Println(srv.Shutdown(ctx), <-served)
	// Output:
	// you asked why <nil>
	// over tcp
	// <nil> <nil>
}

func ExampleReflect() {
	c, closeAll := newExample(framework.ServerConfig{}, func(s *framework.Server) {
		Ask.Handle(s, answer)
		s.SetHealth("example.v1", framework.HealthNotServing)
	})
	defer closeAll()
	r, err := framework.Reflect.Call(context.Background(), c, &framework.ReflectRequest{Prefix: "example."})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range r.Methods {
		fmt.Println(m.Name, m.Kind, m.Class, m.Idempotent, m.Timeout)
	}
	h, err := framework.Health.Call(context.Background(), c, &framework.HealthRequest{Service: "example.v1"})
	fmt.Println(h.Status, err)
	// Output:
	// example.v1/Ask unary rpc true 1m0s
	// not serving <nil>
}
