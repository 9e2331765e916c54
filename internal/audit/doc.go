// Package audit writes one JSON line for each request, allowed or refused,
// before its answer leaves. A line never contains a value of a secret.
//
// # The line
//
// A line is one JSON object of at most 1,000 bytes, its newline included. Keys
// whose value is empty are left out, except time, region, process, decision,
// outcome and duration_us, which are always there. Keys are only ever added.
//
//	time            when the request arrived, RFC 3339 with nanoseconds, UTC
//	region          name of the region that answered
//	process         stable name of the process that answered
//	request         ID of the request
//	principal       ID of the principal that acts
//	principal_name  its name
//	account         ID of the account of the principal
//	credential      ID of the credential that was presented, of the binding of the
//	                client certificate, or of the issuer of the JWT
//	method          token, signature, certificate, jwt or exchange
//	proof           SHA-256 of the certificate, subject and ID of the JWT, or ID of
//	                the exchanged token
//	ip              address the request came from
//	forwarded_for   process or principal that the request was forwarded for
//	action          what was asked, e.g. GetSecretValue
//	kind, id, name  the resource: its kind, ID and name
//	vault           ID of the vault of the resource; left out if id starts with it
//	owner           ID of the account of the resource; left out if it is account
//	decision        allow, deny, or none if authorisation was not reached
//	policies        names of the policies that decided
//	outcome         ok, or the code of the error
//	version         ID of the version that was read or written
//	order           order of the record, counter:region:seq
//	break_glass     true if an override was used
//	duration_us     microseconds from arrival to the writing of the line
//
// A line that would be longer has its longest names cut first, in a fixed order
// that starts with name, policies and principal_name. A cut value ends in "~"
// and the first 12 hexadecimal digits of the SHA-256 of the whole value; cut
// policies end in an element "~" with the digest of those left out, each
// followed by a zero byte. Bytes that are not UTF-8 become U+FFFD.
//
// # Where it goes
//
// A line is handed to the kernel by one write(2) to the first path, together with the
// lines of other requests that can be answered at the same time. What that does not
// take goes to the second path, the fallback, if one is configured; a line is in one of
// the files, so reading the log means reading both. A file that failed is tried again
// by the next line after a second. What write(2) has taken survives a kill -9 of the
// process, not a loss of power: with SyncInterval the files are synchronised every
// second, so that a power loss takes at most about the last second.
//
// A write that stops half-way leaves a part of a line. The next line in that
// file starts with a newline, so a reader skips empty lines and lines that are
// not JSON; the line that was cut short is written again whole, elsewhere or
// later. Requests whose lines were taken whole are answered, whatever became of the
// others that shared the write.
//
// Who has added its line lets other requests go first, and then writes for all that
// have added theirs. At 16 readers on two cores that is 4 lines at once: half of the
// time per line, and 12 % more reads per second of processor, most of which comes of
// the yield: requests and answers then travel in groups, and wake their readers once.
// Without the yield there is nothing to combine (1.01 lines), and nothing is gained.
//
// # When nothing takes the line
//
// [Log.Write] returns secret.CodeAuditUnavailable and [Log.Ready] fails until a
// write succeeds, tried at most once a second. A mutation asks Ready before it
// commits. The line of one that had committed already ([Entry.Committed]) is
// kept in memory, at most [MaxBacklog] lines, and written first when the log
// recovers; it is lost if the process dies before. Other lines are not kept:
// their requests are refused. They are counted, and the first line after the
// backlog, with action audit:Gap, says how many are missing.
package audit
