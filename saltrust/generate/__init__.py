"""The generation stage: trained models and radiographs in, cubes out."""
