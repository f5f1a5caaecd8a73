package framework_test

import (
	"context"
	"fmt"

	"github.com/mycel-rpc/mycel/framework"
)

func ExampleMetadata() {
	var md framework.Metadata
	md.Add("Region", "eu")
	md.Add("region", "us")
	md.Set("trace", "42")
	for key, value := range md.All() {
		fmt.Println(key, value)
	}
	fmt.Println(md.Get("REGION"))
	// Output:
	// region eu
	// region us
	// trace 42
	// eu
}

func ExampleWithMetadata() {
	ctx := framework.WithMetadata(context.Background(), "authorization", "Bearer token")
	// Calls made with ctx send the pair. What this side received is something else:
	fmt.Println(framework.MetadataFrom(ctx).Len())
	// Output: 0
}
