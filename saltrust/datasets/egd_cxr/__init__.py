"""Eye Gaze Data for Chest X-rays."""
