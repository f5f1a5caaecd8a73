package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/wire"
)

func TestErrorText(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{Errorf(NotFound, "no user %d", 7), "not found: no user 7"},
		{&Error{Code: Aborted}, "aborted"},
		{errorOf(wire.Status{Code: NotFound, Message: "no user 7"}), "remote: not found: no user 7"},
		{Errorf(OK, "x"), "internal: x"},
		{Errorf(Code(99), "x"), "internal: x"},
	}
	for _, c := range cases {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestErrorIsItsCodeAndItsCause(t *testing.T) {
	err := fmt.Errorf("load: %w", Errorf(NotFound, "row: %w", io.EOF))
	if !errors.Is(err, NotFound) || !errors.Is(err, io.EOF) {
		t.Errorf("%v is neither its code nor its cause", err)
	}
	if errors.Is(err, Internal) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v is something it does not hold", err)
	}
	if err := Errorf(Aborted, "%w and %w", io.EOF, io.ErrShortWrite); !errors.Is(err, io.EOF) || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v is not both of its causes", err)
	}
	if Errorf(Aborted, "plain").Unwrap() != nil {
		t.Error("an error without %w has a cause")
	}
	if !errors.Is(errorOf(wire.Status{Code: DeadlineExceeded}), context.DeadlineExceeded) {
		t.Error("a deadline that the peer noticed first is not context.DeadlineExceeded")
	}
	if !errors.Is(Errorf(Canceled, "x"), context.Canceled) {
		t.Error("Canceled is not context.Canceled")
	}
}

func TestCodeOf(t *testing.T) {
	cases := []struct {
		err  error
		want Code
	}{
		{nil, OK},
		{Errorf(NotFound, "x"), NotFound},
		{fmt.Errorf("w: %w", Errorf(NotFound, "x")), NotFound},
		{fmt.Errorf("w: %w", Aborted), Aborted},
		{OK, Unknown},
		{&Error{}, Unknown},
		{(*Error)(nil), Unknown},
		{context.Canceled, Canceled},
		{fmt.Errorf("w: %w", context.DeadlineExceeded), DeadlineExceeded},
		{io.EOF, Unknown},
	}
	for _, c := range cases {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%#v) is %v, want %v", c.err, got, c.want)
		}
	}
}

func TestOnlyAuthoredErrorsCrossTheWire(t *testing.T) {
	authored := Errorf(NotFound, "no such user: %w", errors.New("why")).WithDetail(quota{Left: 3})
	received := errorOf(wire.Status{Code: NotFound, Message: "secret", Details: authored.details, Unprocessed: true})
	failed := convert(t.Context(), errors.New("dial 10.0.0.1"))
	cases := []struct {
		name string
		err  error
		want wire.Status
	}{
		{"success", nil, wire.Status{}},
		{"own error", authored, wire.Status{Code: NotFound, Message: "no such user: why", Details: authored.details}},
		{"own error, wrapped", fmt.Errorf("secret: %w", authored), wire.Status{Code: NotFound, Message: "no such user: why", Details: authored.details}},
		{"own refusal", refusal(ResourceExhausted, "full"), wire.Status{Code: ResourceExhausted, Message: "full"}},
		{"code, wrapped", fmt.Errorf("secret: %w", Aborted), wire.Status{Code: Aborted}},
		{"plain", errors.New("secret"), wire.Status{Code: Unknown, Message: "handler returned an error"}},
		{"nil *Error", (*Error)(nil), wire.Status{Code: Unknown, Message: "handler returned an error"}},
		{"code OK", OK, wire.Status{Code: Unknown, Message: "handler returned an error with code OK or none"}},
		{"error without code", &Error{Message: "secret"}, wire.Status{Code: Unknown, Message: "handler returned an error with code OK or none"}},
		{"received", received, wire.Status{Code: Unknown, Message: "handler returned the error of a call it made"}},
		{"received, wrapped", fmt.Errorf("w: %w", received), wire.Status{Code: Unknown, Message: "handler returned the error of a call it made"}},
		{"received, made its own", Errorf(CodeOf(received), "backend"), wire.Status{Code: NotFound, Message: "backend"}},
		{"failed call", failed, wire.Status{Code: Unknown, Message: "handler returned the error of a call it made"}},
		{"received deadline", errorOf(wire.Status{Code: DeadlineExceeded, Message: "secret"}), wire.Status{Code: DeadlineExceeded, Message: "a call made by the handler ended with it"}},
		{"context", fmt.Errorf("secret: %w", context.Canceled), wire.Status{Code: Canceled}},
	}
	for _, c := range cases {
		if got := statusOf(c.err); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestStatusAlwaysFits(t *testing.T) {
	st := Errorf(Aborted, "\xff%s", strings.Repeat("é", wire.MaxMessageText)).status()
	if len(st.Message) > wire.MaxMessageText || !utf8.ValidString(st.Message) {
		t.Errorf("message of %d bytes, valid UTF-8 %v", len(st.Message), utf8.ValidString(st.Message))
	}
	if st := refusal(Unavailable, "drain").status(); !st.Unprocessed {
		t.Error("a refusal of the framework is not marked unprocessed")
	}
}

type quota struct{ Left int }

func TestDetails(t *testing.T) {
	base := Errorf(ResourceExhausted, "quota used up")
	err := base.WithDetail(&quota{Left: 3}).WithDetail(quota{Left: 4}).WithDetail(func() {}).WithDetail(nil)
	if len(base.details) != 0 {
		t.Error("WithDetail changed the error it was called on")
	}
	if len(err.details) != 2 {
		t.Errorf("%d details, want the two that can be encoded", len(err.details))
	}
	sent := statusOf(fmt.Errorf("w: %w", err))
	got := errorOf(sent)
	if q, ok := Detail[quota](fmt.Errorf("w: %w", got)); !ok || q.Left != 3 {
		t.Errorf("got detail %v, %v", q, ok)
	}
	if q, ok := Detail[*quota](got); !ok || q.Left != 3 {
		t.Errorf("got detail %v, %v", q, ok)
	}
	if _, ok := Detail[time.Duration](got); ok {
		t.Error("found a detail that was never attached")
	}
	if _, ok := Detail[quota](io.EOF); ok {
		t.Error("found a detail in a plain error")
	}
	// An unknown detail survives being sent on, and a wrapped error's details are found.
	unknown := errorOf(wire.Status{Code: Aborted, Details: []wire.Detail{{Name: "other", Data: []byte{0xff}}, {Name: "quota", Data: []byte{0xff}}}})
	if again := errorOf(unknown.status()); !reflect.DeepEqual(again, unknown) {
		t.Errorf("details changed on the way: %v, were %v", again, unknown)
	}
	if _, ok := Detail[quota](unknown); ok {
		t.Error("decoded a malformed detail")
	}
	if q, ok := Detail[quota](Errorf(Aborted, "own: %w", got)); !ok || q.Left != 3 {
		t.Errorf("detail of the cause: %v, %v", q, ok)
	}
}

func TestDetailsAreBounded(t *testing.T) {
	err := Errorf(Aborted, "x").WithDetail(blob(make([]byte, wire.MaxDetailBytes)))
	if len(err.details) != 0 {
		t.Error("a detail above the limit was attached")
	}
	for i := range 2 * wire.MaxDetails {
		err = err.WithDetail(quota{i})
	}
	if len(err.details) != wire.MaxDetails {
		t.Errorf("%d details, want %d", len(err.details), wire.MaxDetails)
	}
	err = Errorf(Aborted, "x")
	for range wire.MaxDetails {
		err = err.WithDetail(blob(make([]byte, MaxErrorDetailBytes/5)))
	}
	if len(err.details) != 4 {
		t.Errorf("%d details of a fifth of the limit and their names, want 4", len(err.details))
	}
}

type blob []byte

func TestSiblingsOfAnErrorDoNotShareDetails(t *testing.T) {
	base := Errorf(Aborted, "x").WithDetail(quota{1})
	a, b := base.WithDetail(blob("a")), base.WithDetail(blob("b"))
	if d, _ := Detail[blob](a); string(d) != "a" {
		t.Errorf("got %q, want a", d)
	}
	if d, _ := Detail[blob](b); string(d) != "b" {
		t.Errorf("got %q, want b", d)
	}
}

func TestConvert(t *testing.T) {
	if err := convert(t.Context(), nil); err != nil {
		t.Errorf("success became %v", err)
	}
	coded := fmt.Errorf("w: %w", Errorf(NotFound, "x"))
	if err := convert(t.Context(), coded); err != coded {
		t.Errorf("a coded error became %v", err)
	}
	if err := convert(t.Context(), io.EOF); CodeOf(err) != Unavailable || !errors.Is(err, io.EOF) {
		t.Errorf("a failed connection became %v", err)
	}
	why := errors.New("user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := convert(ctx, io.EOF); CodeOf(err) != Canceled || !errors.Is(err, why) || !errors.Is(err, context.Canceled) {
		t.Errorf("a cancellation became %v", err)
	}
}

func TestConvertDecidesByTheDeadlineOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := convert(ctx, context.DeadlineExceeded); CodeOf(err) != Canceled {
			t.Errorf("before the deadline of the caller: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, err := range []error{context.Canceled, context.DeadlineExceeded, io.EOF} {
			if got := convert(ctx, err); CodeOf(got) != DeadlineExceeded {
				t.Errorf("%v after the deadline became %v", err, got)
			}
		}
	})
}
