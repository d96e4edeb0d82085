"""From a fit to tests: degrees of freedom, marginal means, terms."""
