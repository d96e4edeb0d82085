# Golden values of differences between subgroups and of their joint test, from clubSandwich.
#
#   Rscript Rscripts/reference_subgroups.R
#
# reads every table (*.csv, columns patient, group, x, y) of tests/reference/subgroups and writes
# golden.json beside them.  The tests compare with golden.json and need no R; run this again only
# when a table is added or changed.  Needs clubSandwich and jsonlite.

suppressMessages(library(clubSandwich))
folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "subgroups")

of_fit <- function(fit, patient, names) {
  covariance <- vcovCR(fit, cluster = patient, type = "CR2")
  tested <- coef_test(fit, vcov = covariance, test = "Satterthwaite")
  at <- match(names, names(coef(fit)))
  first <- at[1]
  pairs <- lapply(at[-1], function(other) {
    contrast <- numeric(length(coef(fit)))
    contrast[first] <- 1
    contrast[other] <- -1
    made <- linear_contrast(fit, vcov = covariance, contrasts = matrix(contrast, 1),
                            test = "Satterthwaite", p_values = TRUE)
    list(estimate = made$Est, std_error = made$SE, df = made$df, p_value = made$p_val,
         conf_low = made$CI_L, conf_high = made$CI_U)
  })
  equal <- matrix(0, length(at) - 1, length(coef(fit)))
  for (k in seq_along(at[-1])) {
    equal[k, first] <- 1
    equal[k, at[k + 1]] <- -1
  }
  joint <- Wald_test(fit, constraints = equal, vcov = covariance, test = "HTZ")
  list(groups = lapply(at, function(k) list(estimate = tested$beta[k], std_error = tested$SE[k],
                                            df = tested$df_Satt[k])),
       differences = pairs,
       joint = list(statistic = joint$Fstat, df = joint$df_num, df_denominator = joint$df_denom,
                    p_value = joint$p_val))
}

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = TRUE)
  levels <- levels(table$group)
  means <- lm(y ~ 0 + group, table)
  slopes <- lm(y ~ 0 + group + group:x, table)
  list(levels = I(levels), means = of_fit(means, table$patient, paste0("group", levels)),
       slopes = of_fit(slopes, table$patient, paste0("group", levels, ":x")))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- list(r = R.version.string,
               clubSandwich = as.character(packageVersion("clubSandwich")),
               tables = setNames(lapply(file.path(folder, tables), one_table),
                                 sub("[.]csv$", "", tables)))
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, na = "null", pretty = TRUE),
           file.path(folder, "golden.json"))
