# Golden values of the regressions, correlations and adjusted p-values, from plain R.
#
#   Rscript Rscripts/reference_linear.R
#
# reads every table (*.csv, columns group, patient, x, y) of tests/reference/linear and writes
# golden.json beside them. The tests compare with golden.json and need no R; run this again
# only when a table is added or changed. Needs sandwich (CR2 errors) and jsonlite.

folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "linear")

slope <- function(fit, name) {
  row <- summary(fit)$coefficients[name, ]
  bounds <- confint(fit, name, level = 0.95)
  list(estimate = row[[1]], std_error = row[[2]], statistic = row[[3]], p_value = row[[4]],
       conf_low = bounds[[1]], conf_high = bounds[[2]], df = fit$df.residual)
}

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = FALSE)
  plain <- lm(y ~ x, table)
  fixed <- lm(y ~ x + factor(group), table)
  centred_y <- table$y - ave(table$y, table$group)
  # cadjust = TRUE undoes the (G - 1) / G that sandwich otherwise multiplies HC2 by.
  cr2 <- sandwich::vcovCL(plain, cluster = table$patient, type = "HC2", cadjust = TRUE)
  cr2_fixed <- sandwich::vcovCL(fixed, cluster = table$patient, type = "HC2", cadjust = TRUE)
  spearman <- suppressWarnings(
    cor.test(table$x, table$y, method = "spearman", exact = FALSE))
  list(
    n = nrow(table),
    simple = c(slope(plain, "x"), r_squared = summary(plain)$r.squared),
    fixed_effects = c(slope(fixed, "x"),
                      r_squared = 1 - sum(resid(fixed)^2) / sum(centred_y^2)),
    cr2_std_error = sqrt(cr2["x", "x"]),
    cr2_std_error_fixed = sqrt(cr2_fixed["x", "x"]),
    spearman = list(estimate = unname(spearman$estimate), p_value = spearman$p.value)
  )
}

adjusted <- function(p, n) {
  list(p = I(p), size = n, bonferroni = I(p.adjust(p, "bonferroni", n)),
       holm = I(p.adjust(p, "holm", n)), bh = I(p.adjust(p, "BH", n)))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- list(
  r = R.version.string,
  sandwich = as.character(packageVersion("sandwich")),
  tables = setNames(lapply(file.path(folder, tables), one_table), sub("[.]csv$", "", tables)),
  families = list(
    adjusted(c(0.001, 0.012, 0.04, 0.2), 4),
    adjusted(c(0.04, 0.001, 0.04, 0.9, 0.012), 5),
    adjusted(c(0.01, 0.02, NA, 0.03), 4),
    adjusted(c(0.03, 0.0004, 0.2), 12),
    adjusted(c(0.5), 1)
  )
)
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, na = "null", pretty = TRUE),
           file.path(folder, "golden.json"))
