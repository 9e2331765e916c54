package lifeboattest_test

import (
	"context"
	"fmt"
	"log"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// A region of three processes: a secret that is written through one host is read
// from another one, and still is when that host has lost the store.
func Example() {
	ctx := context.Background()
	region, err := lifeboattest.Open(ctx, lifeboattest.Options{Hosts: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer region.Close()
	account := region.Account()
	if _, err := account.Client(region.Host(0)).CreateSecret(ctx, connect.NewRequest(&lifeboatv1.CreateSecretRequest{
		Vault: account.Vault, Name: "db/password", Value: []byte("hunter2"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})); err != nil {
		log.Fatal(err)
	}
	region.CutOff(1)
	got, err := account.Client(region.Host(1)).GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{
		Vault: account.Vault, Secret: "db/password",
	}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(got.Msg.GetValue()))
	// Output: hunter2
}
