package framework_test

import (
	"fmt"

	"github.com/mycel-rpc/mycel/framework"
)

func ExampleDevTLS() {
	server, client := framework.DevTLS()
	fmt.Println(server.Certificates[0].Leaf.DNSNames, client.InsecureSkipVerify)
	// Output: [localhost] false
}
