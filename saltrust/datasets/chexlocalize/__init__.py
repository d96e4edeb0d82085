"""The released CheXlocalize data: images, heatmaps, annotations."""
