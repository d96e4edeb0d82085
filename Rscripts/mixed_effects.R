# Mixed models of saliency scores in plain R: what `saltrust analyze mixed` does, without Python.
#
#   Rscript Rscripts/mixed_effects.R SCORES.csv FORMULA OVER [CONTROL] [--where COLUMN=VALUE,...] \
#       [--df METHOD] [-o FOLDER]
#
#   Rscript Rscripts/mixed_effects.R scores.csv "auprc ~ explainer + (1|image)" explainer UNET
#
# SCORES.csv  one row per score, as saltrust writes it; rows with an empty cell are left out
# FORMULA     as in lme4, random intercepts only
# OVER        factor whose marginal means are compared
# CONTROL     level that the others are compared with, besides all pairs
# --where     only rows in which the column holds one of the values; repeatable
# --df        satterthwaite (default) or kenward-roger
# -o          folder for the tables, written as CSV (default: mixed_effects)
#
# Prints and writes fixed_effects, anova, random_effects, fit, means, contrasts (Tukey's
# adjustment; Dunnett's against CONTROL, as emmeans approximates it) and single_step, the
# z tests of multcomp that the trustworthiness paper used. Means average over the levels of other
# factors with equal weight, also where these interact with OVER, and hold covariates at their
# mean. Levels keep the order in which they
# first appear. Needs lme4, lmerTest, emmeans, pbkrtest and multcomp.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
  library(multcomp)
})

usage <- function(...) {
  message(..., "; usage: mixed_effects.R SCORES.csv FORMULA OVER [CONTROL] ",
          "[--where COLUMN=VALUE,...] [--df satterthwaite|kenward-roger] [-o FOLDER]")
  quit(status = 2)
}

options_of <- function(words) {
  found <- list(df = "satterthwaite", folder = "mixed_effects", where = character(),
                rest = character())
  while (length(words)) {
    name <- c("--df" = "df", "-o" = "folder", "--where" = "where")[words[1]]
    if (is.na(name)) {
      found$rest <- c(found$rest, words[1])
      words <- words[-1]
    } else {
      if (length(words) < 2) usage(words[1], " needs a value")
      found[[name]] <- if (name == "where") c(found$where, words[2]) else words[2]
      words <- words[-(1:2)]
    }
  }
  if (!length(found$rest) %in% 3:4) usage("3 or 4 arguments are needed")
  if (!found$df %in% c("satterthwaite", "kenward-roger")) usage("unknown --df ", found$df)
  found
}

# Text stays text, so that "007" is an image; numbers are numbers unless they group or are
# compared.
read_scores <- function(path, formula, over, where) {
  if (!file.exists(path)) usage(path, " does not exist")
  table <- read.csv(path, colClasses = "character", na.strings = c("", "NA", "NaN", "nan"),
                    check.names = FALSE)
  missing <- setdiff(all.vars(formula), names(table))
  if (length(missing)) usage(path, " has no column ", paste(missing, collapse = ", "))
  for (text in where) {
    column <- sub("=.*", "", text)
    if (!grepl("=", text) || !column %in% names(table)) usage("--where ", text, " names no column")
    values <- strsplit(paste0(sub("[^=]*=", "", text), ","), ",", fixed = TRUE)[[1]]
    table <- table[ifelse(is.na(table[[column]]), "", table[[column]]) %in% values, ]
    if (!nrow(table)) usage("no row has ", text)
  }
  grouping <- unlist(lapply(findbars(formula), function(bar) all.vars(bar[[3]])))
  for (column in all.vars(formula)) {
    values <- type.convert(table[[column]], as.is = TRUE)
    table[[column]] <- if (is.numeric(values) && !column %in% c(over, grouping)) values else
      factor(table[[column]], levels = unique(na.omit(table[[column]])))
  }
  table
}

fit_model <- function(formula, table) {
  # lme4's default optimiser leaves 1e-6 in the variances.
  lmer(formula, table, control = lmerControl(optimizer = "bobyqa",
                                             optCtrl = list(rhoend = 1e-8)))
}

fixed_effects <- function(model, df) {
  ddf <- if (df == "kenward-roger") "Kenward-Roger" else "Satterthwaite"
  rows <- summary(model, ddf = ddf)$coefficients
  width <- qt(0.975, rows[, 3]) * rows[, 2]
  data.frame(term = rownames(rows), estimate = rows[, 1], std_error = rows[, 2],
             conf_low = rows[, 1] - width, conf_high = rows[, 1] + width,
             statistic = rows[, 4], df = rows[, 3], p_value = rows[, 5], row.names = NULL)
}

type_three <- function(model, df) {
  ddf <- if (df == "kenward-roger") "Kenward-Roger" else "Satterthwaite"
  rows <- anova(model, type = 3, ddf = ddf)
  data.frame(term = rownames(rows), statistic = rows[["F value"]],
             df_numerator = rows[["NumDF"]], df_denominator = rows[["DenDF"]],
             p_value = rows[["Pr(>F)"]])
}

random_effects <- function(model) {
  parts <- as.data.frame(VarCorr(model))
  data.frame(group = parts$grp, variance = parts$vcov, sd = parts$sdcor)
}

fit_table <- function(model) {
  data.frame(n = nobs(model), log_likelihood = as.numeric(logLik(model)), reml = TRUE,
             singular = isSingular(model, tol = 1e-4), criterion = REMLcrit(model),
             aic = AIC(model), bic = BIC(model))
}

# emmeans names its columns after what they hold; these are the same for all.
tidy <- function(made, label, ...) {
  rows <- summary(made, infer = c(TRUE, TRUE), ...)
  width <- ncol(rows)
  setNames(data.frame(as.character(rows[[1]]), rows[[2]], rows$SE, rows[[width - 3]],
                      rows[[width - 2]], rows[[width - 1]], rows$df, rows[[width]]),
           c(label, "estimate", "std_error", "conf_low", "conf_high", "statistic", "df",
             "p_value"))
}

# R takes adjusted p-values from one; below what that leaves, they are Bonferroni's bound.
not_below <- function(adjusted, raw) {
  ifelse(adjusted < 1e-9, pmin(length(raw) * raw, 1e-9), adjusted)
}

compare <- function(means, levels, method, adjust, ...) {
  made <- contrast(means, method, ...)
  rows <- tidy(made, "contrast", adjust = adjust)
  raw <- summary(made, infer = c(FALSE, TRUE), adjust = "none")$p.value
  rows$p_adjusted <- not_below(rows$p_value, raw)
  rows$p_value <- raw
  rows$adjustment <- adjust
  # emmeans writes the factor's name before levels that are numbers.
  signs <- as.matrix(coef(made)[, -1, drop = FALSE])
  rows$contrast <- apply(signs, 2, function(column)
    paste(levels[column > 0], "-", levels[column < 0]))
  rows
}

# glht's own `mcp` would compare at the reference level of what interacts with the factor, and
# where covariates are zero; these are the marginal means of the other tables. Written B - A, as
# multcomp does.
single_step <- function(model, means, levels) {
  pairs <- contrast(means, "pairwise")
  signs <- as.matrix(coef(pairs)[, -1, drop = FALSE])
  combinations <- -pairs@linfct
  rownames(combinations) <- apply(signs, 2, function(column)
    paste(levels[column < 0], "-", levels[column > 0]))
  tested <- summary(glht(model, combinations))$test
  raw <- 2 * pnorm(-abs(tested$tstat))
  data.frame(contrast = names(tested$coefficients), estimate = tested$coefficients,
             std_error = tested$sigma, statistic = tested$tstat,
             p_adjusted = not_below(as.numeric(tested$pvalues), raw), row.names = NULL)
}

main <- function() {
  chosen <- options_of(commandArgs(trailingOnly = TRUE))
  formula <- tryCatch(as.formula(chosen$rest[2]), error = function(problem)
    usage(chosen$rest[2], " is no formula"))
  over <- chosen$rest[3]
  table <- read_scores(chosen$rest[1], formula, over, chosen$where)
  if (!over %in% all.vars(nobars(formula)[[3]])) usage(over, " is no fixed effect")
  model <- fit_model(formula, table)
  limit <- nobs(model) + 1  # emmeans would take infinite df beyond 3000 rows
  means <- emmeans(model, over, lmer.df = chosen$df, lmerTest.limit = limit,
                   pbkrtest.limit = limit)
  levels <- levels(means)[[over]]
  contrasts <- compare(means, levels, "pairwise", "tukey")
  if (length(chosen$rest) == 4) {
    control <- match(chosen$rest[4], levels)
    if (is.na(control)) usage(over, " has no level ", chosen$rest[4])
    contrasts <- rbind(contrasts, compare(means, levels, "trt.vs.ctrl", "dunnettx",
                                          ref = control))
  }
  found <- list(fixed_effects = fixed_effects(model, chosen$df),
                anova = type_three(model, chosen$df), random_effects = random_effects(model),
                fit = fit_table(model), means = tidy(means, "level"), contrasts = contrasts,
                single_step = single_step(model, means, levels))
  message(nrow(table) - nobs(model), " of ", nrow(table), " rows are incomplete and left out")
  dir.create(chosen$folder, showWarnings = FALSE, recursive = TRUE)
  for (name in names(found)) {
    cat("\n", name, "\n", sep = "")
    print(found[[name]], digits = 5, row.names = FALSE)
    write.csv(found[[name]], file.path(chosen$folder, paste0(name, ".csv")), row.names = FALSE)
  }
  message("wrote ", length(found), " tables to ", chosen$folder)
}

main()
