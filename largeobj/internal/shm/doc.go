// Package shm is memory that processes on one host share.
package shm
