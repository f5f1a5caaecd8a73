package framework_test

import (
	"log/slog"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/framework"
)

func ExampleSlogCore() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	log := zap.New(framework.SlogCore(handler))
	log.Info("connected", zap.String("role", "main"), zap.Duration("rtt", 3*time.Millisecond))
	// Output: level=INFO msg=connected role=main rtt=3ms
}
