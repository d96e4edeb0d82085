# Golden values of logistic regressions whose rows of a patient are alike.
#
#   Rscript Rscripts/reference_logit.R
#
# reads every table (*.csv, columns patient, x, y) of tests/reference/logit and writes golden.json
# beside them. The tests compare with golden.json and need no R. Needs clubSandwich and jsonlite.

suppressMessages(library(clubSandwich))
folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "logit")
exact <- glm.control(epsilon = 1e-14, maxit = 100)

clustered <- function(fit, name, cluster) {
  row <- coef_test(fit, vcov = "CR2", cluster = cluster, test = "Satterthwaite")[name, ]
  list(estimate = coef(fit)[[name]], std_error = row$SE, df = row$df_Satt, p_value = row$p_Satt)
}

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = FALSE)
  slope <- glm(y ~ x, binomial, table, control = exact)
  # Calibration in the large: x as if it were the logit of a predicted probability.
  shift <- glm(y ~ 1 + offset(x), binomial, table, control = exact)
  plain <- summary(slope)$coefficients["x", ]
  list(n = nrow(table), naive = list(std_error = plain[[2]], p_value = plain[[4]]),
       slope = clustered(slope, "x", table$patient),
       intercept = clustered(shift, "(Intercept)", table$patient))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- c(list(r = R.version.string, clubSandwich = as.character(packageVersion("clubSandwich"))),
            setNames(lapply(file.path(folder, tables), one_table), sub("[.]csv$", "", tables)))
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, pretty = TRUE),
           file.path(folder, "golden.json"))
