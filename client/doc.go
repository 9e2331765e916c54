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
// # Several regions
//
// With Config.Regions a client goes on while a region is lost, without a restart:
//
//	regions, err := client.ReadRegions("regions.yaml")
//	c, err := client.New(client.Config{Regions: regions, Token: token})
//
// A read goes to the first region, in the order of the configuration, that answers and
// holds what is asked for. If it fails the next one is asked; if it does not answer
// within Config.HedgeAfter, the next one is asked beside it, for at most one read in ten
// when all are slow. The answer's Freshness says which region it is of, and how old.
// That something does not exist is said only if its home says so, or every region does.
//
// A mutation goes to the home region of what it changes, which a region that is not the
// home names. It goes on to another region only if the one before has provably done
// nothing, or under a request token. When the home has changed, by a takeover for
// instance, the next refusal says so; when the old home does not answer the others are
// asked. While a home is on its way from one region to another the mutation waits and is
// tried again, as long as retries go on.
//
// A revision token works in every region: the read goes to one that has reached the
// state, or fails with CodeNotReached.
//
// An address that does not answer, or that was too slow three times in a row, is left
// alone until a probe has found it well again. Probes are made beside calls, after half a
// second at first, then ever more rarely, every thirty seconds at most, with jitter.
//
// What has no home yet goes to the first region, as do calls about a region itself, such
// as GetStatus; see [Client.At].
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
// if the answer proves that nothing was done. A refusal means that no attempt has
// done anything: when an earlier one may have, and the last was refused without having
// looked for it, the error is CodeOutcomeUnknown, with the refusal as its cause.
package client
