// Package codecspb has the messages of package codecs as protocol buffers; its code is generated from codecs.proto.
package codecspb
