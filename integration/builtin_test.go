package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/schema"
)

func TestHealthSaysWhatTheServerSet(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{})
		p.server.SetHealth("db", framework.HealthNotServing)
		for service, want := range map[string]framework.HealthStatus{
			"": framework.HealthServing, "db": framework.HealthNotServing, "none": framework.HealthUnknown,
		} {
			r := must(framework.Health.Call(t.Context(), p.client, &framework.HealthRequest{Service: service}))(t, "Health")
			if r.Status != want {
				t.Errorf("health of %q is %q, want %q", service, r.Status, want)
			}
		}
	})
}

func TestWatchersSeeEveryChangeAndTheEnd(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{})
		var seen []framework.HealthStatus
		var last error
		down := make(chan error, 1) // capacity 1: Shutdown ends once
		for r, err := range framework.WatchHealth.Call(t.Context(), p.client, &framework.HealthRequest{}) {
			if last = err; err != nil {
				break
			}
			switch seen = append(seen, r.Status); len(seen) {
			case 1:
				p.server.SetHealth("other", framework.HealthNotServing) // no change for this watcher
				p.server.SetHealth("", framework.HealthNotServing)
			case 2:
				p.server.SetHealth("", framework.HealthServing)
			case 3:
				go func() { down <- p.server.Shutdown(t.Context()) }()
			}
		}
		want := []framework.HealthStatus{
			framework.HealthServing, framework.HealthNotServing, framework.HealthServing, framework.HealthNotServing,
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
		wantCode(t, "end of the watch", last, framework.Unavailable)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

func TestReflectionDescribesMethodsAndMessages(t *testing.T) {
	slow := framework.NewServerStream[Text, plainOnly]("reflected.v1/Slow",
		framework.WithClass(framework.ClassBulk), framework.WithTimeout(time.Minute), framework.Idempotent())
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			serveAll(r)
			slow.Handle(r, nil)
		}})
		all := must(framework.Reflect.Call(t.Context(), p.client, &framework.ReflectRequest{}))(t, "Reflect")
		var names []string
		for _, m := range all.Methods {
			names = append(names, m.Name)
		}
		want := []string{"mycel.v1/FetchObject", "mycel.v1/ReleaseObjects", framework.Health.Name(), framework.WatchHealth.Name(), framework.Reflect.Name(),
			Say.Name(), Chat.Name(), Count.Name(), Sum.Name(), slow.Name()}
		if !slices.Equal(names, want) {
			t.Errorf("methods are %q, want %q", names, want)
		}
		some := must(framework.Reflect.Call(t.Context(), p.client, &framework.ReflectRequest{Prefix: "reflected.v1/"}))(t, "Reflect")
		if len(some.Methods) != 1 {
			t.Fatalf("got %d methods with the prefix", len(some.Methods))
		}
		m := some.Methods[0]
		if m.Kind != "server stream" || m.Class != "bulk" || m.Timeout != time.Minute || !m.Idempotent {
			t.Errorf("got %+v", m)
		}
		s := must(schema.Parse(m.RequestSchema, schema.DefaultLimits))(t, "schema of the request")
		if own := must(codec.Of[Text]())(t, "codec").Schema(); s.ID() != own.ID() || !strings.Contains(m.RequestText, "Text") {
			t.Errorf("the schema of the request is %s", m.RequestText)
		}
		if len(m.ResponseSchema) != 0 || !strings.Contains(m.ResponseText, "plainOnly") {
			t.Errorf("the response has no positional form, but is described as %q", m.ResponseText)
		}
	})
}
