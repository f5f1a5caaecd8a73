package codec

var kindNames = [...]string{
	kSkip: "skip", kBool: "bool", kInt8: "int8", kInt16: "int16", kInt32: "int32", kInt64: "int64", kUint8: "uint8",
	kUint16: "uint16", kUint32: "uint32", kUint64: "uint64", kFloat32: "float32", kFloat64: "float64",
	kWidenFloat: "widen float", kText: "text", kBytes: "bytes", kByteArray: "byte array", kTime: "time", kAny: "any",
	kCBOR: "CBOR", kBinary: "binary", kTexter: "texter", kLinked: "linked", kStruct: "struct", kOptional: "optional", kList: "list",
	kStructs: "structs", kTexts: "texts", kNumbers: "numbers", kWidenNumbers: "widen numbers", kArray: "array",
	kNumberArray: "number array", kMap: "map", kMapTextText: "map text text", kMapTextInt64: "map text int64",
	kMapTextAny: "map text any", kExtra: "extra", kUnknown: "unknown", kSet8: "set 8", kSet16: "set 16", kSet32: "set 32", kSet64: "set 64",
	kSetText: "set text", kSetSlice: "set slice", kSetPointer: "set pointer", kSetZero: "set zero",
}

func (k kind) String() string { return kindNames[k] }
