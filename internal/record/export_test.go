package record

// DecodeSlowly decodes with the protobuf library.
func (k Kind[T]) DecodeSlowly(b []byte) (*T, error) { return k.decodeSlowly(b) }
