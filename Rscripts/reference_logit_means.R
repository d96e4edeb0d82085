# Golden values of logits of means: shares by quasi-likelihood with CR2, hits by estimating
# equations (independence) with the covariance of Mancl and DeRouen, by dense matrices.
#
#   Rscript Rscripts/reference_logit_means.R
#
# reads every table (*.csv, columns patient, x, y) of tests/reference/logit_means and writes
# golden.json beside them. The tests need no R. Needs clubSandwich, geepack and jsonlite.

suppressMessages({library(clubSandwich); library(geepack)})
folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "logit_means")
exact <- glm.control(epsilon = 1e-14, maxit = 100)

# Average change of the mean with x, and its gradient in the coefficients by differences.
effect <- function(beta, x) { p <- plogis(beta[[1]] + beta[[2]] * x); beta[[2]] * mean(p * (1 - p)) }
gradient <- function(beta, x, step = 1e-6)
  sapply(1:2, function(k) { d <- replace(c(0, 0), k, step)
                            (effect(beta + d, x) - effect(beta - d, x)) / (2 * step) })

mancl_derouen <- function(fit, table) {
  X <- model.matrix(fit); p <- fitted(fit); V <- p * (1 - p); e <- table$y - p
  M <- solve(t(X) %*% (V * X)); middle <- matrix(0, 2, 2)
  for (g in unique(table$patient)) {
    i <- table$patient == g
    D <- (V * X)[i, , drop = FALSE]; inverse <- diag(1 / V[i], sum(i))
    H <- D %*% M %*% t(D) %*% inverse
    u <- t(D) %*% inverse %*% solve(diag(sum(i)) - H) %*% e[i]
    middle <- middle + u %*% t(u)
  }
  M %*% middle %*% M
}

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = FALSE)
  fit <- glm(y ~ x, quasibinomial, table, control = exact)
  row <- coef_test(fit, vcov = "CR2", cluster = table$patient, test = "Satterthwaite")["x", ]
  beta <- coef(fit); g <- gradient(beta, table$x)
  V <- as.matrix(vcovCR(fit, cluster = table$patient, type = "CR2"))
  W <- mancl_derouen(fit, table); df <- length(unique(table$patient)) - 2
  table$id <- as.integer(factor(table$patient))
  gee <- suppressWarnings(geeglm(y ~ x, binomial, table[order(table$id), ], id = id,
                                 corstr = "independence"))
  list(n = nrow(table), effect = effect(beta, table$x),
       cr2 = list(estimate = beta[["x"]], std_error = row$SE, df = row$df_Satt,
                  p_value = row$p_Satt, effect_error = sqrt(drop(t(g) %*% V %*% g))),
       "mancl-derouen" = list(estimate = coef(gee)[["x"]], std_error = sqrt(W[2, 2]), df = df,
                              p_value = 2 * pt(-abs(beta[["x"]]) / sqrt(W[2, 2]), df),
                              effect_error = sqrt(drop(t(g) %*% W %*% g))))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- c(list(r = R.version.string), setNames(lapply(file.path(folder, tables), one_table),
                                                 sub("[.]csv$", "", tables)))
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, pretty = TRUE),
           file.path(folder, "golden.json"))
