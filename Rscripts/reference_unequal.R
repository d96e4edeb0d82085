# Golden values of mixed models with a residual variance per level, and CR2 errors on them.
#
#   Rscript Rscripts/reference_unequal.R
#
# reads every table (*.csv, columns patient, image, level, value) of tests/reference/unequal and
# writes golden.json beside them. The tests compare with golden.json and need no R. Needs nlme,
# clubSandwich and jsonlite. The df of nlme are no reference; those of clubSandwich are.

suppressMessages({library(nlme); library(clubSandwich)})
folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))),
                    "..", "tests", "reference", "unequal")
control <- lmeControl(msTol = 1e-9, tolerance = 1e-9, maxIter = 500, msMaxIter = 500,
                      returnObject = TRUE)

one_model <- function(table, random, method) {
  fit <- lme(value ~ level, random = random, weights = varIdent(form = ~ 1 | level), data = table,
             control = control, method = method)
  spread <- fit$sigma * coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  robust <- as.data.frame(coef_test(fit, vcov = "CR2", test = "Satterthwaite"))
  list(log_likelihood = as.numeric(logLik(fit)), estimate = unname(fixef(fit)),
       std_error = unname(sqrt(diag(vcov(fit)))), level = names(spread), sd = unname(spread),
       sd_intercepts = as.numeric(na.omit(suppressWarnings(as.numeric(
         VarCorr(fit)[rownames(VarCorr(fit)) == "(Intercept)", "StdDev"])))),
       robust_error = robust$SE, robust_df = robust$df_Satt, robust_p = robust$p_Satt)
}

one_table <- function(path) {
  table <- read.csv(path, stringsAsFactors = TRUE)
  table$level <- factor(table$level, levels = unique(as.character(table$level)))
  list(n = nrow(table), patient = one_model(table, ~ 1 | patient, "REML"),
       nested = one_model(table, ~ 1 | patient/image, "REML"),
       patient_ml = one_model(table, ~ 1 | patient, "ML"))
}

tables <- sort(list.files(folder, pattern = "[.]csv$"))
golden <- c(list(r = R.version.string, nlme = as.character(packageVersion("nlme")),
                 clubSandwich = as.character(packageVersion("clubSandwich"))),
            setNames(lapply(file.path(folder, tables), one_table), sub("[.]csv$", "", tables)))
writeLines(jsonlite::toJSON(golden, auto_unbox = TRUE, digits = NA, pretty = TRUE),
           file.path(folder, "golden.json"))
