"""What can be learned: a classifier, one guided by gaze, a localizer."""
