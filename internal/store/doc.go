// Package store keeps one shard of a region in etcd, the shard's authoritative
// copy: conditional transactions on records, linearizable reads, and the
// change feed that everything behind a commit is driven by.
//
// etcd runs inside the process (StartEmbedded), alone or as one of a cluster,
// or elsewhere (Dial); a Shard works the same on either.
//
// Nothing here depends on clocks or on leases being exclusive: correctness
// rests on the conditions of transactions alone.
package store
