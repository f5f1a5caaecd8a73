//go:build !race

package streams

// raceDetector says that the race detector watches, which makes everything several times slower.
const raceDetector = false
