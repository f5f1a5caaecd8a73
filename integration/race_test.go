//go:build race

package integration

// raceDetector says that the race detector watches, which makes everything several times slower.
const raceDetector = true
