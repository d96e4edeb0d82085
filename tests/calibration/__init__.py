"""Error rates of every interval and test, by simulation of data of our kind."""
