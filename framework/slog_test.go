package framework

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logLine returns what log writes through SlogCore and a JSON handler, without time.
func logLine(t *testing.T, opts *slog.HandlerOptions, log func(*zap.Logger), zapOpts ...zap.Option) string {
	t.Helper()
	var buf bytes.Buffer
	log(zap.New(SlogCore(slog.NewJSONHandler(&buf, opts)), zapOpts...))
	if buf.Len() == 0 {
		return ""
	}
	var m map[string]any
	if err := json.Unmarshal(buf.Bytes(), &m); err != nil {
		t.Fatalf("%v in %s", err, buf.Bytes())
	}
	if _, ok := m["time"]; !ok {
		t.Errorf("no time in %s", buf.Bytes())
	}
	maps.DeleteFunc(m, func(k string, _ any) bool { return k == "time" || k == "msg" || k == "level" })
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

type zapPoint struct{ x, y int }

func (p zapPoint) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddInt("x", p.x)
	enc.AddInt("y", p.y)
	return nil
}

func TestSlogCoreFields(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cases := []struct {
		name   string
		fields []zap.Field
		want   string
	}{
		{"string", []zap.Field{zap.String("k", "v")}, `{"k":"v"}`},
		{"numbers", []zap.Field{zap.Int("a", -1), zap.Uint64("b", 1<<40), zap.Float64("c", 1.5)}, `{"a":-1,"b":1099511627776,"c":1.5}`},
		{"bool", []zap.Field{zap.Bool("t", true), zap.Bool("f", false)}, `{"f":false,"t":true}`},
		{"duration", []zap.Field{zap.Duration("d", time.Second)}, `{"d":1000000000}`},
		{"time", []zap.Field{zap.Time("t", when)}, `{"t":"2026-01-02T03:04:05Z"}`},
		{"error", []zap.Field{zap.Error(io.EOF)}, `{"error":"EOF"}`},
		{"no error", []zap.Field{zap.Error(nil)}, `{}`},
		{"stringer", []zap.Field{zap.Stringer("s", NotFound)}, `{"s":"not found"}`},
		{"bytes as text", []zap.Field{zap.ByteString("b", []byte("abc"))}, `{"b":"abc"}`},
		{"strings", []zap.Field{zap.Strings("l", []string{"a", "b"})}, `{"l":["a","b"]}`},
		{"object", []zap.Field{zap.Object("p", zapPoint{1, 2})}, `{"p":{"x":1,"y":2}}`},
		{"inlined object", []zap.Field{zap.Inline(zapPoint{1, 2})}, `{"x":1,"y":2}`},
		{"namespace", []zap.Field{zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2)}, `{"a":1,"n":{"b":2}}`},
	}
	for _, c := range cases {
		if got := logLine(t, nil, func(l *zap.Logger) { l.Info("m", c.fields...) }); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		// The same fields attached beforehand.
		if got := logLine(t, nil, func(l *zap.Logger) { l.With(c.fields...).Info("m") }); got != c.want {
			t.Errorf("%s, by With: got %s, want %s", c.name, got, c.want)
		}
	}
	want := `{"a":1,"n":{"b":2,"c":3}}`
	if got := logLine(t, nil, func(l *zap.Logger) {
		l.With(zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2)).With(zap.Int("c", 3)).Info("m")
	}); got != want {
		t.Errorf("got %s, want %s: what follows a namespace belongs to it", got, want)
	}
}

func TestSlogCoreLevels(t *testing.T) {
	levels := map[zapcore.Level]slog.Level{
		zap.DebugLevel: slog.LevelDebug, zap.InfoLevel: slog.LevelInfo, zap.WarnLevel: slog.LevelWarn,
		zap.ErrorLevel: slog.LevelError, zap.DPanicLevel: 9, zap.PanicLevel: 10, zap.FatalLevel: 11,
	}
	for from, to := range levels {
		if got := slogLevel(from); got != to {
			t.Errorf("%v becomes %v, want %v", from, got, to)
		}
	}
	opts := &slog.HandlerOptions{Level: slog.LevelWarn}
	if got := logLine(t, opts, func(l *zap.Logger) { l.Info("m") }); got != "" {
		t.Errorf("a record below the level of the handler was written: %s", got)
	}
}

func TestSlogCoreNameSourceAndStack(t *testing.T) {
	got := logLine(t, &slog.HandlerOptions{AddSource: true}, func(l *zap.Logger) { l.Named("pool").Error("m") },
		zap.AddCaller(), zap.AddStacktrace(zap.ErrorLevel))
	for _, part := range []string{`"logger":"pool"`, "slog_test.go", "TestSlogCoreNameSourceAndStack", `"stacktrace":"`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %s in %s", part, got)
		}
	}
}

func TestSlogCoreReportsErrorsOfTheHandler(t *testing.T) {
	fail := errors.New("disk full")
	core := SlogCore(failingHandler{slog.DiscardHandler, fail})
	if err := core.Write(zapcore.Entry{}, nil); err != fail {
		t.Errorf("got %v", err)
	}
	if err := core.Sync(); err != nil {
		t.Error(err)
	}
}

type failingHandler struct {
	slog.Handler
	err error
}

func (h failingHandler) Handle(context.Context, slog.Record) error { return h.err }
