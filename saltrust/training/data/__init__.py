"""What is learned from: images, annotations, gaze, targets."""
