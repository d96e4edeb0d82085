"""What is compared, how its data are drawn, and the test that decides."""
