"""From anything that holds images to an ImageSet, and from a benchmark to a task."""
