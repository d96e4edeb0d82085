"""DICOM files by subject: reading, frames, bits, padding, tables, modality and VOI rules."""
