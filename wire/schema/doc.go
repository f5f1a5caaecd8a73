// Package schema describes message types: canonical bytes, identity, evolution.
package schema
