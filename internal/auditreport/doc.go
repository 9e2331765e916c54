// Package auditreport answers from audit logs who did what to which secret, where
// and when. It reads the lines of package audit as they come, so that its memory
// is bounded by the rows of the report, not by the logs.
package auditreport
