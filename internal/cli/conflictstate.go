package cli

import (
	"io"
	"slices"
	"strconv"
	"strings"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// stateCell is how wide a state is shown beside the other one.
const stateCell = 36

// stateRows show what was held of a record beside what there is now. Texts of several
// lines follow the table.
func stateRows(w io.Writer, c *lifeboatv1.Conflict) {
	held, present := stateFields(c.GetHeld()), stateFields(c.GetPresent())
	names := make([]string, 0, len(held))
	for _, f := range append(slices.Clone(held), present...) {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	row(w, "")
	row(w, "FIELD", "HELD", "NOW")
	row(w, "exists", strconv.FormatBool(c.GetHeld() != nil), strconv.FormatBool(c.GetPresent() != nil))
	for _, name := range names {
		if !isText(name) {
			row(w, name, clip(held.of(name), stateCell), clip(present.of(name), stateCell))
		}
	}
	for _, name := range names {
		if isText(name) {
			textRows(w, name+" held", held.of(name))
			textRows(w, name+" now", present.of(name))
		}
	}
}

func textRows(w io.Writer, title, text string) {
	row(w, "")
	row(w, title)
	for line := range strings.Lines(text) {
		row(w, "  "+strings.TrimRight(line, "\r\n"))
	}
}

func isText(field string) bool { return field == "text" || field == "authorities" || field == "rules" }

// stateField is a property of a state as people read it.
type stateField struct{ name, value string }

type stateList []stateField

func (l stateList) of(name string) string {
	for _, f := range l {
		if f.name == name {
			return or(f.value, "-")
		}
	}
	return "-"
}

// stateFields are what a person compares; nil of no state.
func stateFields(s *lifeboatv1.ConflictState) stateList {
	switch {
	case s.GetAccount() != nil:
		return stateList{{"name", s.GetAccount().GetName()}, {"updated", at(s.GetAccount().GetUpdatedAt())}}
	case s.GetPrincipal() != nil:
		p := s.GetPrincipal()
		return stateList{
			{"name", p.GetName()}, {"kind", enum(p.GetKind(), "PRINCIPAL_KIND_")}, {"roles", strings.Join(p.GetRoles(), ",")},
			{"disabled", strconv.FormatBool(p.GetDisabled())}, {"updated", at(p.GetUpdatedAt())},
		}
	case s.GetCredential() != nil:
		c := s.GetCredential()
		return stateList{
			{"principal", c.GetPrincipalId()}, {"kind", enum(c.GetKind(), "CREDENTIAL_KIND_")}, {"description", c.GetDescription()},
			{"created", at(c.GetCreatedAt())}, {"expires", at(c.GetExpiresAt())}, {"revoked", at(c.GetRevokedAt())},
		}
	case s.GetPolicy() != nil:
		p := s.GetPolicy()
		return stateList{{"description", p.GetDescription()}, {"updated", at(p.GetUpdatedAt())}, {"text", p.GetText()}}
	case s.GetVault() != nil:
		return vaultFields(s.GetVault())
	}
	return proofFields(s)
}

func vaultFields(v *lifeboatv1.Vault) stateList {
	var targets []string
	for _, t := range v.GetReplication().GetTargets() {
		targets = append(targets, t.GetRegion())
	}
	retention := v.GetDefaultRetention()
	return stateList{
		{"name", v.GetName()}, {"state", enum(v.GetState(), "STATE_")}, {"description", v.GetDescription()},
		{"tags", pairs(v.GetTags())}, {"versions kept", strconv.FormatUint(uint64(retention.GetMaxVersions()), 10)},
		{"kept for", retention.GetMaxAge().AsDuration().String()}, {"home region", v.GetOwnership().GetHomeRegion()},
		{"targets", strings.Join(targets, ",")}, {"allowed regions", strings.Join(v.GetReplication().GetAllowedRegions(), ",")},
		{"updated", at(v.GetUpdatedAt())},
	}
}

// proofFields are stateFields of what proves who calls.
func proofFields(s *lifeboatv1.ConflictState) stateList {
	switch {
	case s.GetTrust() != nil:
		t := s.GetTrust()
		var authorities strings.Builder
		for _, authority := range t.GetAuthorities() {
			authorities.WriteString(authority.GetFingerprint()[:min(16, len(authority.GetFingerprint()))] + " " + authority.GetSubject() + "\n")
		}
		return stateList{{"description", t.GetDescription()}, {"updated", at(t.GetUpdatedAt())}, {"authorities", authorities.String()}}
	case s.GetBinding() != nil:
		b := s.GetBinding()
		return stateList{{"principal", b.GetPrincipalId()}, {"uri", b.GetUri()}, {"trust bundle", b.GetTrust()}, {"created", at(b.GetCreatedAt())}}
	case s.GetIssuer() != nil:
		i := s.GetIssuer()
		var mapped strings.Builder
		for _, r := range i.GetRules() {
			mapped.WriteString(pairs(r.GetClaims()) + " is " + or(r.GetPrincipal(), r.GetTemplate()) + "\n")
		}
		return stateList{
			{"description", i.GetDescription()}, {"url", i.GetUrl()}, {"audiences", strings.Join(i.GetAudiences(), ",")},
			{"algorithms", strings.Join(i.GetAlgorithms(), ",")}, {"keys from", i.GetJwksUrl()},
			{"updated", at(i.GetUpdatedAt())}, {"rules", mapped.String()},
		}
	case s.GetIssuerKeys() != nil:
		return stateList{{"keys", strings.Join(s.GetIssuerKeys().GetKeyIds(), ",")}, {"fetched", at(s.GetIssuerKeys().GetFetchedAt())}}
	}
	return nil
}
