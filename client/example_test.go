package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{
		Address: os.Getenv("LIFEBOAT_ADDR"),
		Token:   client.NewValue(os.Getenv("LIFEBOAT_TOKEN")),
		CAFile:  os.Getenv("LIFEBOAT_CA_FILE"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	put, err := c.PutSecret(ctx, &client.PutSecretVersionRequest{Vault: "payments", Secret: "api-key", Value: []byte("s3cret")})
	if err != nil {
		log.Fatal(err)
	}
	// The token makes sure that the read, through whatever host, sees the write.
	got, err := c.GetSecretValue(ctx, &client.GetSecretValueRequest{Vault: "payments", Secret: "api-key", RevisionToken: put.RevisionToken})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(got.GetValue()))
}

func ExampleError() {
	var c *client.Client // made by New
	_, err := c.GetSecretValue(context.Background(), &client.GetSecretValueRequest{Vault: "payments", Secret: "api-key"})
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Code == client.CodeNotFound:
		fmt.Println("no such secret")
	case err != nil:
		log.Fatal(err)
	}
}

func ExampleClient_ListSecrets() {
	var c *client.Client // made by New
	for s, err := range c.ListSecrets(context.Background(), &client.ListSecretsRequest{Vault: "payments", NamePrefix: "db/"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.GetName())
	}
}

func ExampleClient_WatchSecrets() {
	var c *client.Client // made by New
	for answer, err := range c.WatchSecrets(context.Background(), &lifeboatv1.WatchSecretsRequest{Vault: "payments"}) {
		if err != nil {
			log.Fatal(err)
		}
		if event := answer.GetEvent(); event != nil {
			fmt.Println(event.GetType(), event.GetName())
		}
	}
}
