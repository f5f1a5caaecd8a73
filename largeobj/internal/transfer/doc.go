// Package transfer moves the bytes of one large object between hosts: verified, resumable, in bounded memory.
package transfer
