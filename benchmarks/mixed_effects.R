# The R side of mixed_effects.py: time lmer on a table, and write what it estimates.
#
#   Rscript benchmarks/mixed_effects.R SCORES.csv OUTPUT.csv FORMULA
#
# Only the call of lmer is timed: not reading, not the contrasts.

suppressPackageStartupMessages(library(lme4))
words <- commandArgs(trailingOnly = TRUE)
table <- read.csv(words[1])
formula <- as.formula(words[3])
for (column in setdiff(all.vars(formula), "auprc"))
  table[[column]] <- factor(table[[column]], levels = unique(table[[column]]))
time <- system.time(model <- lmer(formula, table))

levels <- levels(table$explainer)
cells <- cbind(1, rbind(0, diag(length(levels) - 1)))
pairs <- t(combn(length(levels), 2))
contrasts <- cells[pairs[, 1], ] - cells[pairs[, 2], ]
variances <- as.data.frame(VarCorr(model))
found <- c(
  elapsed = time[["elapsed"]], cpu = time[["user.self"]] + time[["sys.self"]],
  log_likelihood = as.numeric(logLik(model)),
  setNames(variances$vcov, paste("variance", variances$grp)),
  setNames(fixef(model), paste("fixed", names(fixef(model)))),
  setNames(sqrt(diag(as.matrix(vcov(model)))), paste("error", names(fixef(model)))),
  setNames(contrasts %*% fixef(model), paste("contrast", levels[pairs[, 1]], levels[pairs[, 2]])),
  setNames(sqrt(rowSums((contrasts %*% as.matrix(vcov(model))) * contrasts)),
           paste("contrast error", levels[pairs[, 1]], levels[pairs[, 2]])))
write.csv(data.frame(name = names(found), value = sprintf("%.15g", found)), words[2],
          row.names = FALSE)
