package capture

// MaxDescriptions is for tests.
const MaxDescriptions = maxDescriptions
