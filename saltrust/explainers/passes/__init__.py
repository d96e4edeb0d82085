"""What the methods share: passes through a network and back, and how they are run."""
