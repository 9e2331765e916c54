package record

// DecodeSlowly decodes with the protobuf library.
func (k Kind[T]) DecodeSlowly(b []byte) (*T, error) { return k.decodeSlowly(b) }

// EncodeSlowly encodes with the protobuf library.
func (k Kind[T]) EncodeSlowly(t *T) []byte { return k.encodeSlowly(t) }

// CheckSlowly checks with the protobuf library.
func (k Kind[T]) CheckSlowly(b []byte) error { return k.checkSlowly(b) }

// Fits reports whether Check accepts b without the protobuf library.
func (k Kind[T]) Fits(b []byte) bool { return len(b) > 0 && k.layout().fits(b[1:], deepest) }
