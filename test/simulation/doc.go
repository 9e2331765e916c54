// Package simulation runs whole regions, as far as replication goes, in one
// process and in simulated time: the real service, pipeline, queue, sender and
// receiver over stores in memory, with links that lose, delay and repeat, and with
// processes that crash. What a plan drawn by chance does to them must never break
// a guarantee, and in the end all copies must be equal.
package simulation
