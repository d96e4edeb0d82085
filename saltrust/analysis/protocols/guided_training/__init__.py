"""Protocol W (Watanabe et al.): classifiers guided by gaze against their baseline."""
