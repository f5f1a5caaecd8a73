package framework

import (
	"context"

	"github.com/mycel-rpc/mycel/streams"
)

// InProcess returns a client of the server in this process. Everything is as over a network, messages are copied by
// encoding them, deadlines, limits, interceptors and errors work the same, except that nothing is encrypted and no socket
// is opened. The server need not be serving; the client must be closed.
func InProcess(s *Server) *Client {
	c, err := InProcessClient(s, ClientConfig{})
	if err != nil {
		panic(err) // the zero configuration is valid
	}
	return c
}

// InProcessClient is [InProcess] with a configuration, of which TLS and MaxConnections are not used.
func InProcessClient(s *Server, cfg ClientConfig) (*Client, error) {
	cfg.TLS = nil
	cfg.MaxConnections = 1
	return newClient("in-process:0", cfg, func(_ context.Context, _ string, conf streams.Config) (*streams.Conn, error) {
		near, far, err := streams.Pipe(conf, s.connConfig())
		if err != nil {
			return nil, err
		}
		s.adopt(far)
		return near, nil
	})
}
