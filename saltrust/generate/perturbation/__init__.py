"""Perturbation: how predictions and maps change while radiographs are changed by degrees."""
