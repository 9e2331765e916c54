// Command bench measures a region as it is deployed: server processes of their
// own, reached over TLS, on a real disk, next to what each figure is compared
// with. What is compared is measured in one run, in alternating rounds, because
// machines are noisy; a figure is the median of its rounds. Rates are given per
// second and per second of the server's CPU time, since the load generator
// shares the machine.
//
//	go run ./bench                    # about five minutes
//	go run ./bench -only reads        # a part of it
//	go run ./bench -million          # the figures at a million secrets
//	go run ./bench soak              # half an hour of mixed load, what is left of it
//
// It prints a table and writes bench/results/latest.json.
package main
