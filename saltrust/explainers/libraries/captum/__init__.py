"""The attribution classes of captum: which there are, their names, how they are called."""
