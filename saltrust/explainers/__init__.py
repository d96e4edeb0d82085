"""Saliency methods: from a trained network and radiographs to heatmaps."""
