package record

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func decodeSecret(wire []byte) (*secret.Secret, error) {
	d := new(struct {
		secret.Secret
		source
	})
	c, s := d.over(wire), &d.Secret
	defer func() { d.wire = nil }()
	for c.next() {
		switch c.tag {
		case 1<<3 | wireBytes:
			s.ID = secret.ID(c.string())
		case 2<<3 | wireBytes:
			s.Account = secret.AccountID(c.string())
		case 3<<3 | wireBytes:
			s.Name = c.string()
		case 4<<3 | wireBytes:
			c.ownership(&s.Ownership)
		case 5<<3 | wireBytes:
			s.State = secret.State(c.string())
		case 6<<3 | wireVarint:
			s.CreatedAt = c.time()
		case 7<<3 | wireVarint:
			s.UpdatedAt = c.time()
		case 8<<3 | wireVarint:
			s.DeleteAt = c.time()
		case 9<<3 | wireBytes:
			s.ContentType = c.string()
		case 10<<3 | wireBytes:
			if s.Tags == nil {
				s.Tags = make(map[string]string)
			}
			key, value := c.entry()
			s.Tags[key] = value
		case 11<<3 | wireBytes:
			s.Description = c.bytes()
		case 12<<3 | wireBytes:
			s.Metadata = c.bytes()
		case 13<<3 | wireBytes:
			c.rules(&s.Rules)
		case 14<<3 | wireBytes:
			c.retention(&s.Retention)
		default:
			c.versions(s)
		}
	}
	return s, c.err
}

// HasRotation reports whether a stored secret says anything of a rotation, without
// decoding it; true if it cannot be decoded.
func HasRotation(stored []byte) bool {
	if len(stored) == 0 {
		return true
	}
	c := cursor{source: &source{wire: stored[1:]}, end: len(stored) - 1}
	for c.next() {
		if c.tag == 33<<3|wireBytes {
			return true
		}
		c.skip()
	}
	return c.err != nil
}

// versions takes the fields of a secret that are about its versions.
func (c *cursor) versions(s *secret.Secret) {
	switch c.tag {
	case 15<<3 | wireBytes:
		s.RequestToken = c.string()
	case 16<<3 | wireBytes:
		s.RequestMAC = c.bytes()
	case 17<<3 | wireBytes:
		if s.Versions == nil {
			s.Versions = make([]secret.VersionInfo, 0, min(c.likely(), secret.MaxVersions))
		}
		s.Versions = append(s.Versions, secret.VersionInfo{})
		c.version(&s.Versions[len(s.Versions)-1])
	case 18<<3 | wireVarint:
		s.LastNumber = c.uint()
	case 19<<3 | wireBytes:
		if s.Stages == nil {
			s.Stages = make(map[secret.Stage]secret.VersionID)
		}
		stage, id := c.entry()
		s.Stages[secret.Stage(stage)] = secret.VersionID(id)
	case 20<<3 | wireBytes:
		s.RetiredMACs = append(s.RetiredMACs, c.bytes())
	case 21<<3 | wireBytes:
		s.Requests = append(s.Requests, c.request())
	case 30<<3 | wireBytes:
		c.target(&s.Targets)
	case 33<<3 | wireBytes:
		if s.Rotation == nil {
			s.Rotation = new(secret.Rotation)
		}
		c.rotation(s.Rotation)
	case 40<<3 | wireBytes:
		s.Detached = c.string()
	case 41<<3 | wireBytes:
		s.Promoted = append(s.Promoted, secret.RegionName(c.string()))
	default:
		c.skip()
	}
}

func (c *cursor) version(v *secret.VersionInfo) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			v.ID = secret.VersionID(m.string())
		case 2<<3 | wireVarint:
			v.Number = m.uint()
		case 3<<3 | wireVarint:
			v.CreatedAt = m.time()
		case 4<<3 | wireBytes:
			v.CreatedBy = secret.PrincipalID(m.string())
		case 5<<3 | wireVarint:
			v.ExpiresAt = m.time()
		case 6<<3 | wireBytes:
			v.RequestToken = m.string()
		case 7<<3 | wireBytes:
			v.MAC = m.bytes()
		case 8<<3 | wireVarint:
			v.Size = int(uint32(m.uint()))
		case 9<<3 | wireVarint:
			v.Binary = m.uint() != 0
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) request() (r secret.Request) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			r.Token = m.string()
		case 2<<3 | wireBytes:
			r.MAC = m.bytes()
		default:
			m.skip()
		}
	}
	c.close(&m)
	return r
}

func decodeWorkItem(wire []byte) (*recordpb.WorkItem, error) {
	var src source
	c, w := src.over(wire), new(recordpb.WorkItem)
	for c.next() {
		switch c.tag {
		case 1<<3 | wireBytes:
			w.Record = c.string()
		case 2<<3 | wireBytes:
			if w.Order == nil {
				w.Order = new(recordpb.Order)
			}
			c.orderOf(w.Order)
		case 3<<3 | wireVarint:
			w.CommittedAt = int64(c.uint()) //nolint:gosec // signed on the wire
		case 4<<3 | wireBytes:
			w.Mutation = c.string()
		case 5<<3 | wireBytes:
			w.Traceparent = c.string()
		default:
			c.skip()
		}
	}
	return w, c.err
}

func decodeEvent(wire []byte) (*recordpb.Event, error) {
	var src source
	c, e := src.over(wire), new(recordpb.Event)
	texts := [...]*string{1: &e.Id, &e.Type, &e.Account, &e.Vault, &e.Subject, &e.Name, &e.Version, 9: &e.Principal}
	for c.next() {
		number, _ := protowire.DecodeTag(c.tag)
		switch {
		case c.tag == 8<<3|wireBytes:
			if e.Order == nil {
				e.Order = new(recordpb.Order)
			}
			c.orderOf(e.Order)
		case c.tag == 10<<3|wireVarint:
			e.At = int64(c.uint()) //nolint:gosec // signed on the wire
		case c.tag&7 == wireBytes && int(number) < len(texts) && texts[number] != nil:
			*texts[number] = c.string()
		default:
			c.skip()
		}
	}
	return e, c.err
}

func decodeVault(wire []byte) (*secret.Vault, error) {
	d := new(struct {
		secret.Vault
		source
	})
	c, v := d.over(wire), &d.Vault
	defer func() { d.wire = nil }()
	for c.next() {
		switch c.tag {
		case 1<<3 | wireBytes:
			v.ID = secret.VaultID(c.string())
		case 2<<3 | wireBytes:
			v.Account = secret.AccountID(c.string())
		case 3<<3 | wireBytes:
			v.Name = c.string()
		case 4<<3 | wireBytes:
			c.ownership(&v.Ownership)
		case 5<<3 | wireBytes:
			v.State = secret.State(c.string())
		case 6<<3 | wireBytes:
			v.Description = c.string()
		case 7<<3 | wireBytes:
			if v.Tags == nil {
				v.Tags = make(map[string]string)
			}
			key, value := c.entry()
			v.Tags[key] = value
		case 8<<3 | wireBytes:
			c.retention(&v.Retention)
		case 9<<3 | wireVarint:
			v.CreatedAt = c.time()
		case 10<<3 | wireVarint:
			v.UpdatedAt = c.time()
		case 11<<3 | wireBytes:
			v.RequestToken = c.string()
		case 12<<3 | wireBytes:
			v.Key = c.string()
		case 20<<3 | wireBytes:
			c.replication(&v.Replication)
		default:
			c.skip()
		}
	}
	return v, c.err
}

func (c *cursor) replication(r *secret.Replication) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			m.target(&r.Targets)
		case 2<<3 | wireBytes:
			r.Partial = append(r.Partial, secret.RegionName(m.string()))
		case 3<<3 | wireBytes:
			r.AllowedRegions = append(r.AllowedRegions, secret.RegionName(m.string()))
		case 4<<3 | wireVarint:
			r.AckTargets = int(uint32(m.uint()))
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) target(targets *[]secret.Target) {
	var t secret.Target
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			t.Region = secret.RegionName(m.string())
		case 2<<3 | wireVarint:
			t.ForceOverwrite = m.uint() != 0
		case 3<<3 | wireBytes:
			t.Key = m.string()
		default:
			m.skip()
		}
	}
	c.close(&m)
	*targets = append(*targets, t)
}

func (c *cursor) time() time.Time { return FromNanos(int64(c.uint())) }

// ownership, like all that takes a message, adds to what an earlier occurrence
// of the field said, as the protobuf library does.
func (c *cursor) ownership(o *secret.Ownership) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			o.Home = secret.RegionName(m.string())
		case 2<<3 | wireBytes:
			o.Incarnation = secret.Incarnation(m.string())
		case 3<<3 | wireBytes:
			m.order(&o.Order)
		case 4<<3 | wireBytes:
			o.Lineage = append(o.Lineage, secret.Fork{})
			m.fork(&o.Lineage[len(o.Lineage)-1])
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) order(o *secret.Order) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			m.epoch(&o.Epoch)
		case 2<<3 | wireVarint:
			o.Seq = m.uint()
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) orderOf(o *recordpb.Order) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			e := epochFromProto(o.GetEpoch())
			m.epoch(&e)
			o.Epoch = epochToProto(e)
		case 2<<3 | wireVarint:
			o.Seq = m.uint()
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) epoch(e *secret.Epoch) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireVarint:
			e.Counter = m.uint()
		case 2<<3 | wireBytes:
			e.Region = secret.RegionName(m.string())
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) fork(f *secret.Fork) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			m.epoch(&f.Epoch)
		case 2<<3 | wireBytes:
			m.order(&f.Began)
		case 3<<3 | wireBytes:
			f.Home = secret.RegionName(m.string())
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) rules(r *secret.Rules) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireVarint:
			r.ExpiresAt = m.time()
		case 2<<3 | wireVarint:
			r.VersionTTL = time.Duration(m.uint())
		case 3<<3 | wireVarint:
			r.ForbidReuse = m.uint() != 0
		default:
			m.skip()
		}
	}
	c.close(&m)
}

func (c *cursor) retention(r *secret.Retention) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireVarint:
			r.MaxVersions = int(uint32(m.uint()))
		case 2<<3 | wireVarint:
			r.MaxAge = time.Duration(m.uint())
		default:
			m.skip()
		}
	}
	c.close(&m)
}

// SealedValue returns the sealed value of an encoded version, without a copy: it
// is valid only as long as b. Errors: those of Kind.Decode.
func SealedValue(b []byte) (secret.Sealed, error) {
	return field(Versions.name, Versions.reads, b, 3<<3|wireBytes)
}

// IncarnationOf returns the incarnation that an encoded region record holds.
// Errors: those of Kind.Decode.
func IncarnationOf(b []byte) (secret.Incarnation, error) {
	incarnation, err := field(Regions.name, Regions.reads, b, 2<<3|wireBytes)
	return secret.Incarnation(incarnation), err
}

// field returns a field of bytes of an encoded record, without a copy.
func field(name string, reads byte, b []byte, tag uint64) (value []byte, err error) {
	if err := checkFormat(name, reads, b); err != nil {
		return nil, err
	}
	for rest := b[1:]; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, corrupt(name, errWire)
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
			return nil, corrupt(name, errWire)
		}
		if protowire.EncodeTag(number, kind) == tag {
			value, _ = protowire.ConsumeBytes(rest)
		}
		rest = rest[n:]
	}
	return value, nil
}

func (c *cursor) rotation(r *secret.Rotation) {
	m := c.message()
	for m.next() {
		switch m.tag {
		case 1<<3 | wireBytes:
			r.Rotator = m.string()
		case 2<<3 | wireVarint:
			r.Enabled = m.uint() != 0
		case 3<<3 | wireVarint:
			r.Schedule.AfterDays = int(uint32(m.uint()))
		case 4<<3 | wireBytes:
			r.Schedule.Expression = m.string()
		case 5<<3 | wireVarint:
			r.Schedule.Window = time.Duration(m.uint()) //nolint:gosec // signed on the wire
		case 6<<3 | wireVarint:
			r.LastAt = m.time()
		case 7<<3 | wireVarint:
			r.NextAt = m.time()
		case 8<<3 | wireBytes:
			r.Version = secret.VersionID(m.string())
		case 9<<3 | wireBytes:
			r.Step = secret.RotationStep(m.string())
		case 10<<3 | wireVarint:
			r.Attempts = int(uint32(m.uint()))
		case 11<<3 | wireVarint:
			r.RetryAt = m.time()
		case 12<<3 | wireBytes:
			r.Failure = m.string()
		case 13<<3 | wireVarint:
			r.Trial = m.uint() != 0
		default:
			m.skip()
		}
	}
	c.close(&m)
}
