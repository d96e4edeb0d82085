# Golden values of power: pwr where it has the test, lme4 by simulation where nothing has.
#
#   Rscript Rscripts/reference_power.R
#
# writes tests/reference/power/power.json. `make references` runs it from the root of the
# repository.

suppressPackageStartupMessages({
  library(pwr)
  library(lme4)
  library(lmerTest)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
folder <- file.path(dirname(script), "..", "tests", "reference", "power")

# Every case: what saltrust is asked, by its own names, and pwr's power of it.
case <- function(comparison, patients, effect, power, sd = 1, mean = 0, correlation = 0.5,
                 prevalence = 0.5, outcome = "score")
  list(comparison = comparison, patients = patients, effect = effect, sd = sd, mean = mean,
       correlation = correlation, prevalence = prevalence, outcome = outcome, power = power)

# Differences of two scores that correlate by r have a standard deviation of sd sqrt(2 (1 - r)).
paired <- function(n, effect, sd, r)
  case("clustered", n, effect, sd = sd, correlation = r, power = pwr.t.test(
    n = n, d = effect / (sd * sqrt(2 * (1 - r))), type = "paired")$power)

values <- list(
  paired(34, 0.5, 1, 0.5),
  paired(12, 0.25, 0.2, 0.3),
  paired(150, 0.03, 0.2, 0.7),
  paired(25, 0, 1, 0.5),
  case("groups", 52, 0.8, power = pwr.t.test(n = 26, d = 0.8, type = "two.sample")$power),
  case("groups", 120, 0.1, sd = 0.2, power = pwr.t.test(n = 60, d = 0.5)$power),
  case("groups", 100, 0.6, prevalence = 0.3,
       power = pwr.t2n.test(n1 = 70, n2 = 30, d = 0.6)$power),
  case("slope", 50, 0.4, power = pwr.r.test(n = 50, r = 0.4)$power),
  case("slope", 100, 0.04, sd = 0.2, power = pwr.r.test(n = 100, r = 0.2)$power),
  case("groups", 200, 0.2, mean = 0.4, outcome = "hit",
       power = pwr.2p.test(h = ES.h(0.6, 0.4), n = 100)$power),
  case("groups", 160, 0.15, mean = 0.5, outcome = "hit",
       power = pwr.2p.test(h = ES.h(0.65, 0.5), n = 80)$power)
)

# The fewest patients, where pwr is asked for them.
needed <- function(comparison, effect, target, patients, ...)
  c(case(comparison, patients, effect, power = NA, ...)[-9], list(target = target))
fewest <- list(
  needed("clustered", 0.5, 0.8, ceiling(pwr.t.test(d = 0.5, power = 0.8, type = "paired")$n)),
  needed("clustered", 0.3, 0.9, ceiling(pwr.t.test(d = 0.3, power = 0.9, type = "paired")$n)),
  needed("slope", 0.3, 0.8, ceiling(pwr.r.test(r = 0.3, power = 0.8)$n))
)

# One mixed case: patients with several images, two levels, random intercepts, Satterthwaite's t.
mixed_design <- list(patients = 20, images = 3, effect = 0.07, mean = 0.4, sd = 0.2, icc = 0.3,
                     correlation = 0.5, replicates = 3000)
simulate <- function(d) {
  patient <- rep(seq_len(d$patients), each = d$images)
  n <- length(patient)
  component <- function(count) sqrt(d$correlation) * rnorm(count) +
    sqrt(1 - d$correlation) * matrix(rnorm(2 * count), count)
  z <- sqrt(d$icc) * component(d$patients)[patient, ] + sqrt(1 - d$icc) * component(n)
  data.frame(value = c(d$mean + d$effect + d$sd * z[, 1], d$mean + d$sd * z[, 2]),
             level = factor(rep(c("level", "baseline"), each = n), c("baseline", "level")),
             image = factor(rep(seq_len(n), 2)), patient = factor(rep(patient, 2)))
}
set.seed(20261129)
rejects <- replicate(mixed_design$replicates, suppressMessages(suppressWarnings({
  fit <- lmer(value ~ level + (1 | image) + (1 | patient), simulate(mixed_design))
  coef(summary(fit))["levellevel", "Pr(>|t|)"] < 0.05
})))

write_json(list(pwr = values, fewest = fewest,
                mixed = c(mixed_design, list(power = mean(rejects)))),
           file.path(folder, "power.json"), auto_unbox = TRUE, digits = NA, pretty = TRUE)
