package framework_test

import (
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/framework"
)

type Quota struct {
	Limit, Used int
}

func ExampleErrorf() {
	// In a handler:
	err := framework.Errorf(framework.ResourceExhausted, "no more uploads today").WithDetail(Quota{Limit: 10, Used: 10})

	// At the caller:
	if errors.Is(err, framework.ResourceExhausted) {
		q, ok := framework.Detail[Quota](err)
		fmt.Println(err, ok, q.Used, "of", q.Limit)
	}
	// Output: resource exhausted: no more uploads today true 10 of 10
}

func ExampleCodeOf() {
	err := fmt.Errorf("greet: %w", framework.NotFound)
	switch framework.CodeOf(err) {
	case framework.OK:
		fmt.Println("fine")
	case framework.NotFound:
		fmt.Println("nobody there")
	}
	// Output: nobody there
}
