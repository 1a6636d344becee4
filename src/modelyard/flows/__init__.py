"""The flows: where the rooms are chained. Each file reads as a story, from top to bottom: build, release, monitor, retrain."""
