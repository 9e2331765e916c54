// Package lifeboattest runs a real region inside a test: its own store, TLS,
// keys, audit logs and data directories, on ports of the loopback. Nothing is
// faked, so what passes here is what a deployment does; only the machine is
// shared. Links between a host and the rest of the region can be broken.
//
//	region := lifeboattest.Start(t, lifeboattest.Options{Hosts: 2})
//	client := region.Account().Client(region.Host(0))
//	made, err := client.CreateSecret(ctx, connect.NewRequest(&lifeboatv1.CreateSecretRequest{
//		Vault: "test", Name: "db/password", Value: []byte("hunter2"),
//	}))
//
// Several regions, each with an authority of its own, are linked as peers; the
// links between them can be broken and slowed down, each direction by itself:
//
//	regions := lifeboattest.StartRegions(t, lifeboattest.Options{}, "east", "west", "south")
//	regions.Link("east", "west").Delay(40 * time.Millisecond)
//
// A region takes about a second to start. Tests that do not break it share one:
// each makes an account of its own with NewAccount.
package lifeboattest
