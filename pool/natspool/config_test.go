package natspool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mycel-rpc/mycel/pool"
)

func TestConfigsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	js := e.connect()
	for field, cfg := range map[string]Config{
		"Bucket":       {Bucket: "a.b"},
		"TTL":          {TTL: time.Millisecond},
		"Replicas":     {Replicas: 6},
		"MaxEndpoints": {MaxEndpoints: maxEndpoints + 1},
		"Timeout":      {Timeout: -1},
	} {
		if _, err := New(js, cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("without JetStream")
	}
}

func TestWhatCannotBeRegisteredIsRefused(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	p := e.join(Config{})
	for name, c := range map[string]struct {
		service string
		e       pool.Endpoint
	}{
		"no service":      {"", at("a:1")},
		"a long service":  {strings.Repeat("s", maxNameBytes+1), at("a:1")},
		"no address":      {"s", pool.Endpoint{}},
		"no port":         {"s", at("a")},
		"a long address":  {"s", at(strings.Repeat("a", maxNameBytes) + ":1")},
		"a weight":        {"s", pool.Endpoint{Address: "a:1", Weight: maxWeight + 1}},
		"much metadata":   {"s", pool.Endpoint{Address: "a:1", Metadata: strings.Repeat("m", maxValueBytes)}},
		"binary metadata": {"s", pool.Endpoint{Address: "a:1", Metadata: "\xff"}},
	} {
		if _, err := p.Register(t.Context(), c.service, c.e); err == nil {
			t.Errorf("registered: %s", name)
		} else {
			t.Log(err)
		}
	}
	// The longest names that there can be.
	service, address := strings.Repeat("ä", maxNameBytes/2), strings.Repeat("ö", maxNameBytes/2-1)+":1"
	o := p.watch(service)
	p.register(service, at(address))
	o.want(address)
}

// both returns the errors of the two ways to use a registry.
func both(t *testing.T, p *party) (register, watch error) {
	t.Helper()
	_, register = p.Register(t.Context(), "s", at("a:1"))
	for _, err := range p.Watch(t.Context(), "s") {
		return register, err
	}
	return register, errors.New("the sequence is empty")
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	none := func(*testing.T, *engine) {}
	account := func(o *server.Options) {
		a := server.NewAccount("A")
		o.Accounts = []*server.Account{a}
		o.Users = []*server.User{{Username: "u", Password: "p", Account: a}}
	}
	bucket := func(cfg jetstream.KeyValueConfig) func(*testing.T, *engine) {
		return func(t *testing.T, e *engine) {
			cfg.Bucket = "mycel"
			if _, err := e.connect().CreateKeyValue(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	permit := func(subjects ...string) func(*server.Options) {
		return func(o *server.Options) {
			o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: subjects}}}}
		}
	}
	for name, c := range map[string]struct {
		options func(*server.Options)
		prepare func(*testing.T, *engine)
		cfg     Config
		want    error  // of the chain
		says    string // in the text
	}{
		"no JetStream":            {func(o *server.Options) { o.JetStream = false }, none, Config{}, jetstream.ErrJetStreamNotEnabled, "jetstream"},
		"none for the account":    {account, none, Config{}, jetstream.ErrJetStreamNotEnabledForAccount, "account"},
		"no bucket":               {nil, none, Config{NoCreate: true}, jetstream.ErrBucketNotFound, `bucket "mycel"`},
		"a bucket without a TTL":  {nil, bucket(jetstream.KeyValueConfig{}), Config{}, nil, "time to live of the bucket is 0s"},
		"a bucket of another TTL": {nil, bucket(jetstream.KeyValueConfig{TTL: time.Minute}), Config{}, nil, "is 1m0s, not 2s (TTL)"},
		"no permission":           {permit("nothing"), none, Config{Timeout: time.Second}, nats.ErrPermissionViolation, "$JS.API.STREAM.INFO.KV_mycel"},
		"no permission to make": {permit("$JS.API.STREAM.INFO.>", "$JS.API.INFO"), none, Config{Timeout: time.Second},
			nats.ErrPermissionViolation, "$JS.API.STREAM.CREATE.KV_mycel"},
		"no resources": {func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 }, none, Config{}, &jetstream.APIError{ErrorCode: 10047}, "insufficient storage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []func(*server.Options)
			if c.options != nil {
				options = append(options, c.options)
			}
			e := startEngine(t, options...)
			c.prepare(t, e)
			p := e.join(c.cfg, nats.UserInfo("u", "p"))
			register, watch := both(t, p)
			for _, err := range []error{register, watch} {
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want %q", err, c.says)
				}
			}
			t.Log(watch)
		})
	}
}

// The permissions that the documentation lists are enough for each side, and only for its own.
func TestPermissions(t *testing.T) {
	t.Parallel()
	user := func(name string, subjects ...string) *server.User {
		return &server.User{Username: name, Password: "p", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: append(subjects, "$JS.API.STREAM.INFO.KV_mycel")},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}
	}
	e := startEngine(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "p"},
			user("client", "$JS.API.CONSUMER.CREATE.KV_mycel.>", "$JS.API.CONSUMER.DELETE.KV_mycel.>", "$JS.FC.>"),
			user("server", "$KV.mycel.>", "$JS.API.DIRECT.GET.KV_mycel.>")}
	})
	admin := e.join(Config{}, nats.UserInfo("admin", "p"))
	admin.register("s", at("admin:1"))
	clients := e.join(Config{Timeout: 2 * time.Second}, nats.UserInfo("client", "p"))
	servers := e.join(Config{Timeout: 2 * time.Second}, nats.UserInfo("server", "p"))
	o := clients.watch("s")
	o.want("admin:1")
	release := servers.register("s", at("a:1"))
	o.want("a:1", "admin:1")
	if err := admin.bucket().Purge(t.Context(), keyOf("s", "a:1")); err != nil {
		t.Fatal(err)
	}
	o.want("admin:1")
	o.want("a:1", "admin:1") // made again, for which it was asked for
	release()
	o.want("admin:1")
	if _, err := clients.Register(t.Context(), "s", at("client:1")); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a client registered: %v", err)
	}
	for _, err := range servers.Watch(t.Context(), "s") {
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a server watched: %v", err)
		}
		break
	}
}

func TestAClosedRegistryAndAClosedConnectionSaySo(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	p := e.join(Config{})
	release, err := p.Register(t.Context(), "s", at("a:1"))
	if err != nil {
		t.Fatal(err)
	}
	o := p.watch("s")
	o.want("a:1")
	p.Close()
	p.Close()
	if err := o.wantError(); err != ErrClosed {
		t.Errorf("got %v", err)
	}
	if _, ok := <-o.yields; ok {
		t.Error("the sequence goes on")
	}
	register, watch := both(t, p)
	if register != ErrClosed || watch != ErrClosed {
		t.Errorf("after Close: %v, %v", register, watch)
	}
	if err := release(t.Context()); err != ErrClosed {
		t.Errorf("released after Close: %v", err)
	}

	p = e.join(Config{})
	p.register("s", at("a:1"))
	o = p.watch("s")
	o.want("a:1")
	p.js.Conn().Close()
	if err := o.wantError(); !errors.Is(err, nats.ErrDisconnected) && !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
	for y := range o.yields { // to its end
		if !errors.Is(y.err, nats.ErrConnectionClosed) {
			t.Errorf("got %v", y)
		}
	}
	if register, watch := both(t, p); !errors.Is(register, nats.ErrConnectionClosed) || !errors.Is(watch, nats.ErrConnectionClosed) {
		t.Errorf("without a connection: %v, %v", register, watch)
	}
	p.wantLog("a registration has ended: the connection has been closed")
}

// silentEngine accepts connections and answers nothing but pings.
func silentEngine(t *testing.T) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, `INFO {"server_id":"x","version":"2.15.0","proto":1,"max_payload":1048576,"headers":true,"jetstream":true}`+"\r\n")
		for in := bufio.NewScanner(conn); in.Scan(); {
			if strings.HasPrefix(in.Text(), "PING") {
				fmt.Fprint(conn, "PONG\r\n")
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "nats://" + l.Addr().String()
}

func TestNothingWaitsLongerThanItsContext(t *testing.T) {
	t.Parallel()
	conn, err := nats.Connect(silentEngine(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []time.Duration{50 * time.Millisecond, maxTimeout} {
		r, err := New(js, Config{Timeout: limit})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := r.Register(ctx, "s", at("a:1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Register: %v", err)
		}
		for _, err := range r.Watch(ctx, "s") { // ends with ctx
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Watch: %v", err)
			}
			t.Log(err)
		}
	}
	// A registry that is closed waits for nobody either.
	r, err := New(js, Config{Timeout: maxTimeout})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() {
		_, err := r.Register(t.Context(), "s", at("a:1"))
		errs <- err
	}()
	r.Close()
	if err := <-errs; err != ErrClosed {
		t.Errorf("Register during Close: %v", err)
	}
}
