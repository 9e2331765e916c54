// Package client is the Go SDK of Lifeboat, over its public API.
//
//	c, err := client.New(client.Config{
//		Address: "https://lifeboat.example:8200",
//		Token:   client.NewValue(token),
//		CAFile:  "ca.pem",
//	})
//	...
//	answer, err := c.GetSecretValue(ctx, &client.GetSecretValueRequest{Vault: "payments", Secret: "api-key"})
//
// Requests and answers are the messages of package lifeboatv1; the most used
// have a second name here. A request may be used again after a call.
//
// # Logging in
//
// A program with a client certificate presents it by Config.TLS and needs no
// token. With Config.Login the SDK exchanges a certificate, a JWT or a token for
// tokens that work for minutes, and renews them by itself.
//
// # Errors
//
// A call returns an [*Error] if the region refused it, or if it could not be
// reached: use [errors.As], or [CodeOf].
//
// # Retries
//
// Reads are tried again, with backoff, while the region cannot answer them.
// A mutation is tried again only if that cannot do it twice: if its request
// carries a request token, which the SDK makes where the caller gave none, or
// if the answer proves that nothing was done.
package client
