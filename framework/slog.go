package framework

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// SlogCore returns a core that hands everything to h, so that users of log/slog can pass a *zap.Logger made by
// zap.New(framework.SlogCore(h)). It is as safe for concurrent use as h.
//
// Levels map to the slog level of the same name; DPanic, Panic and Fatal lie above Error, one apart (9, 10, 11).
// Fields keep their kind, also objects (as groups) and namespaces (as groups around all that follows). The name of
// the logger is the attribute "logger", a stack trace the attribute "stacktrace", and the caller, with
// zap.AddCaller, the source of the record.
func SlogCore(h slog.Handler) zapcore.Core { return &slogCore{h} }

type slogCore struct{ h slog.Handler }

// Enabled implements [zapcore.LevelEnabler].
func (c *slogCore) Enabled(level zapcore.Level) bool {
	return c.h.Enabled(context.Background(), slogLevel(level))
}

// With implements [zapcore.Core].
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	h := c.h
	for len(fields) > 0 {
		// A namespace opens a group for everything that comes later, also at later calls.
		i := slices.IndexFunc(fields, isNamespace)
		if i < 0 {
			i = len(fields)
		}
		if attrs := slogAttrs(fields[:i]); len(attrs) > 0 {
			h = h.WithAttrs(attrs)
		}
		if fields = fields[i:]; len(fields) > 0 {
			h, fields = h.WithGroup(fields[0].Key), fields[1:]
		}
	}
	return &slogCore{h}
}

// Check implements [zapcore.Core].
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements [zapcore.Core].
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var pc uintptr
	if e.Caller.Defined {
		pc = e.Caller.PC + 1 // slog wants a return address and takes one off
	}
	r := slog.NewRecord(e.Time, slogLevel(e.Level), e.Message, pc)
	if e.LoggerName != "" {
		r.AddAttrs(slog.String("logger", e.LoggerName))
	}
	r.AddAttrs(slogAttrs(fields)...)
	if e.Stack != "" {
		r.AddAttrs(slog.String("stacktrace", e.Stack))
	}
	return c.h.Handle(context.Background(), r)
}

// Sync implements [zapcore.Core]; slog handlers have nothing to flush.
func (c *slogCore) Sync() error { return nil }

func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelError + slog.Level(level-zapcore.ErrorLevel)
	case level == zapcore.WarnLevel:
		return slog.LevelWarn
	case level == zapcore.InfoLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func isNamespace(f zapcore.Field) bool { return f.Type == zapcore.NamespaceType }

// slogAttrs converts fields; a namespace becomes a group of what follows it.
func slogAttrs(fields []zapcore.Field) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.SkipType:
		case zapcore.NamespaceType:
			return append(attrs, slog.Attr{Key: f.Key, Value: slog.GroupValue(slogAttrs(fields[i+1:])...)})
		case zapcore.StringType:
			attrs = append(attrs, slog.String(f.Key, f.String))
		case zapcore.BoolType:
			attrs = append(attrs, slog.Bool(f.Key, f.Integer == 1))
		case zapcore.Int64Type, zapcore.Int32Type, zapcore.Int16Type, zapcore.Int8Type:
			attrs = append(attrs, slog.Int64(f.Key, f.Integer))
		case zapcore.DurationType:
			attrs = append(attrs, slog.Duration(f.Key, time.Duration(f.Integer)))
		case zapcore.ErrorType:
			attrs = append(attrs, slog.Any(f.Key, f.Interface))
		default:
			attrs = append(attrs, slogOther(f)...)
		}
	}
	return attrs
}

// slogOther converts a field of a kind that has no shortcut, by having it encode itself. An inlined object
// becomes several attributes, and an object that fails says so in an attribute of its own.
func slogOther(f zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	f.AddTo(enc)
	return slogMap(enc.Fields)
}

func slogMap(m map[string]any) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(m))
	for key, v := range m {
		if object, ok := v.(map[string]any); ok {
			attrs = append(attrs, slog.Attr{Key: key, Value: slog.GroupValue(slogMap(object)...)})
			continue
		}
		attrs = append(attrs, slog.Any(key, v))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return attrs
}
