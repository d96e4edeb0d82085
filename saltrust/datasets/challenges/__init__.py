"""The two Kaggle chest challenges: RSNA boxes and SIIM-ACR masks."""
