package region

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// Formats implements native.Operations.
func (o operations) Formats() *lifeboatv1.GetFormatsResponse {
	status := o.p.gate.Status()
	answer := &lifeboatv1.GetFormatsResponse{Open: status.Open(), Held: status.Held, RaisedBy: status.Release}
	if !status.RaisedAt.IsZero() {
		answer.RaisedAt = timestamppb.New(status.RaisedAt)
	}
	for _, f := range status.Formats {
		answer.Formats = append(answer.Formats, &lifeboatv1.Format{Kind: f.Kind, Written: f.Written, Newest: f.Newest, BlockedBy: f.Blocks})
	}
	for _, m := range status.Members {
		answer.Readers = append(answer.Readers, &lifeboatv1.FormatReader{Process: m.ID, Role: m.Role, Release: m.Release, Formats: m.Formats})
	}
	return answer
}

// HoldFormats implements native.Operations.
func (o operations) HoldFormats(ctx context.Context, held bool) error {
	return o.p.gate.Hold(ctx, held)
}
