"""What the cubes hold for an analysis, as arrays: annotations, maps, gaze, the average mask."""
