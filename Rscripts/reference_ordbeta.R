# Golden values of ordered beta regressions by maximum likelihood: glmmTMB, and the error of the
# average marginal effect clustered by patient, from the likelihood written out.
#
#   Rscript Rscripts/reference_ordbeta.R
#
# reads every table (*.csv, columns patient, x, y) of tests/reference/ordbeta and writes golden.json
# beside them. The tests need no R. Needs glmmTMB and jsonlite.

suppressMessages(library(glmmTMB))
folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "ordbeta")

# Parameters: intercept, slope, log precision, lower cut point, log of the gap (none: no share is 1).
cuts <- function(b) c(b[4], if (length(b) > 4) b[4] + exp(b[5]) else Inf)
minus <- function(b, t) {
  eta <- b[1] + b[2] * t$x; k <- cuts(b); mu <- plogis(eta); phi <- exp(b[3])
  inner <- t$y > 0 & t$y < 1
  some <- plogis(eta - k[1]) - plogis(eta - k[2])
  -sum(ifelse(t$y == 0, plogis(k[1] - eta, log.p = TRUE), 0)) -
    sum(plogis(eta - k[2], log.p = TRUE)[t$y == 1]) -
    sum((log(some) + dbeta(ifelse(inner, t$y, .5), mu * phi, (1 - mu) * phi, log = TRUE))[inner])
}
effect <- function(b, x) {
  eta <- b[1] + b[2] * x; k <- cuts(b); p <- plogis(eta - k[1]); q <- plogis(eta - k[2]); m <- plogis(eta)
  mean(b[2] * (dlogis(eta - k[2]) + (dlogis(eta - k[1]) - dlogis(eta - k[2])) * m + (p - q) * m * (1 - m)))
}
slopes <- function(f, b, step = 1e-5)
  sapply(seq_along(b), function(j) { d <- replace(0 * b, j, step); (f(b + d) - f(b - d)) / (2 * step) })

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = FALSE)
  fit <- glmmTMB(y ~ x, family = ordbeta(), data = table, start = list(psi = c(-1, 1)))
  psi <- fit$fit$parfull[names(fit$fit$parfull) == "psi"]
  b <- unname(c(fixef(fit)$cond, log(sigma(fit)), psi[1], if (any(table$y == 1)) log(psi[2] - psi[1])))
  # From there to the exact maximum.
  for (k in 1:10) b <- b - solve(optimHess(b, minus, t = table),
                                 slopes(function(v) minus(v, table), b))
  H <- optimHess(b, minus, t = table); g <- slopes(function(v) effect(v, table$x), b)
  changes <- sapply(unique(table$patient), function(who) {
    mine <- table[table$patient == who, ]
    sum(g * solve(H - optimHess(b, minus, t = mine), slopes(function(v) minus(v, mine), b)))
  })
  list(n = nrow(table), patients = length(unique(table$patient)),
       glmmTMB = list(intercept = fixef(fit)$cond[[1]], slope = fixef(fit)$cond[[2]],
                      precision = sigma(fit), lower = psi[[1]], log_likelihood = as.numeric(logLik(fit))),
       upper = if (length(b) > 4) psi[[2]], effect = effect(b, table$x),
       effect_error = sqrt(sum(changes^2)))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- c(list(r = R.version.string, glmmTMB = as.character(packageVersion("glmmTMB"))),
            setNames(lapply(file.path(folder, tables), one_table), sub("[.]csv$", "", tables)))
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, pretty = TRUE),
           file.path(folder, "golden.json"))
