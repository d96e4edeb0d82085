# Golden values of random slopes and of what is told beside a fit, from lme4, lmerTest and pbkrtest.
#
#   Rscript Rscripts/reference_slopes.R
#
# simulates two tables, fits the models below, and writes slopes.json beside the other golden
# values of mixed models (tests/reference/mixed_effects). `make references` runs it.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
folder <- file.path(dirname(script), "..", "tests", "reference", "mixed_effects")
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-8, maxfun = 1e5),
                       check.conv.grad = "ignore", check.conv.singular = "ignore",
                       check.conv.hess = "ignore", check.scaleX = "ignore")

simulate_readings <- function(images, spread, offset, kept) {
  table <- expand.grid(explainer = c("grad", "ig", "xrai"), reading = 1:4, image = 1:images)
  table$year <- offset + rnorm(nrow(table), sd = 3)
  table$reader <- sample(1:6, nrow(table), TRUE)
  slopes <- rnorm(images, sd = spread)
  table$auprc <- 0.3 + 0.1 * (table$explainer == "xrai") + rnorm(images, sd = 0.1)[table$image] +
    (0.02 + slopes[table$image]) * (table$year - offset) + rnorm(6, sd = 0.05)[table$reader] +
    rnorm(images * 3, sd = 0.05)[3 * table$image + as.integer(table$explainer) - 3] +
    rnorm(nrow(table), sd = 0.1)
  table$image <- paste0("im", table$image)
  table$reader <- paste0("r", table$reader)
  table$auprc <- round(table$auprc, 6)
  table$year <- round(table$year, 4)
  table$age <- round(table$year - offset, 4)
  table[runif(nrow(table)) < kept, c("image", "explainer", "reader", "year", "age", "auprc")]
}

set.seed(20261128)
write.csv(simulate_readings(25, 0.03, 0, 0.85), file.path(folder, "slopes.csv"),
          row.names = FALSE, quote = FALSE)
write.csv(simulate_readings(15, 0.0, 2015, 0.9), file.path(folder, "slopes_years.csv"),
          row.names = FALSE, quote = FALSE)

models <- list(
  correlated = list("sleepstudy", "Reaction ~ day + (1 + day | Subject)"),
  uncorrelated = list("sleepstudy", "Reaction ~ day + (1 + day || Subject)"),
  no_intercept = list("sleepstudy", "Reaction ~ day + (0 + day | Subject)"),
  crossed = list("slopes", "auprc ~ explainer + year + (1 + year | image) + (1 | reader)"),
  two = list("slopes", "auprc ~ explainer + year + (1 + year | image) + (1 + year | reader)"),
  three = list("slopes", "auprc ~ explainer + year + (1 + explainer | image)"),
  full = list("slopes", "auprc ~ explainer + (0 + explainer | image)"),
  nested = list("slopes", "auprc ~ explainer + year + (0 + year | image) + (1 | image/explainer)"),
  years = list("slopes_years", "auprc ~ explainer + year + (1 | image) + (0 + year | reader)"),
  singular = list("slopes_years", "auprc ~ explainer + age + (1 + age | image)"),
  intercepts = list("slopes", "auprc ~ explainer + year + (1 | image) + (1 | reader)")
)

# Profiles of larger models take minutes, or fail.
profiled <- c("correlated", "uncorrelated", "no_intercept", "crossed", "intercepts")

read_scores <- function(name) {
  table <- read.csv(file.path(folder, paste0(name, ".csv")))
  if (name == "sleepstudy") table$day <- table$Days
  for (column in intersect(names(table), c("image", "reader", "explainer", "Subject")))
    table[[column]] <- factor(table[[column]], levels = unique(table[[column]]))
  table
}

effects <- function(model, ...) {
  rows <- summary(model, ...)$coefficients
  list(term = rownames(rows), estimate = rows[, 1], se = rows[, 2], df = rows[, 3], p = rows[, 5])
}

terms_of <- function(model, ...) {
  rows <- anova(model, ...)
  list(term = rownames(rows), F = rows$`F value`, NumDF = rows$NumDF, DenDF = rows$DenDF,
       p = rows$`Pr(>F)`)
}

# Nakagawa and Schielzeth (2013), with slopes Johnson (2014): the variance of a random term is
# its mean over the rows.
r_squared <- function(model) {
  fixed <- var(as.numeric(model.matrix(model) %*% fixef(model)))
  residual <- sigma(model)^2
  varcorr <- VarCorr(model)
  of_terms <- sapply(seq_along(varcorr), function(index) {
    columns <- getME(model, "mmList")[[index]]
    mean(rowSums((columns %*% as.matrix(varcorr[[index]])) * columns))
  })
  total <- fixed + sum(of_terms) + residual
  list(marginal = fixed / total, conditional = (fixed + sum(of_terms)) / total,
       icc = sum(of_terms) / (sum(of_terms) + residual))
}

one_model <- function(name) {
  entry <- models[[name]]
  table <- read_scores(entry[[1]])
  formula <- as.formula(entry[[2]])
  model <- do.call(lmer, list(formula, table, control = control))
  ml <- do.call(lmer, list(formula, table, REML = FALSE, control = control))
  parts <- as.data.frame(VarCorr(model))
  tests <- as.data.frame(ranova(model, reduce.terms = FALSE))[-1, ]
  result <- list(
    table = entry[[1]], formula = entry[[2]], fixed = effects(model),
    fixed_kr = effects(model, ddf = "Kenward-Roger"), anova = terms_of(model),
    group = parts$grp, var1 = parts$var1, var2 = parts$var2, vcov = parts$vcov,
    sdcor = parts$sdcor, log_likelihood = as.numeric(logLik(model)),
    log_likelihood_ml = as.numeric(logLik(ml)), singular = isSingular(model, tol = 1e-4),
    r2 = r_squared(model), ranova = list(term = rownames(tests), lrt = tests$LRT, df = tests$Df,
                                         p = tests$`Pr(>Chisq)`))
  if ("explainer" %in% all.vars(formula)) {
    rows <- as.data.frame(contrast(emmeans(model, "explainer", lmer.df = "satterthwaite"),
                                   "pairwise", adjust = "tukey"))
    result$contrasts <- list(contrast = as.character(rows$contrast), estimate = rows$estimate,
                             se = rows$SE, df = rows$df, p = rows$p.value)
  }
  if (!result$singular) {
    intervals <- if (name %in% profiled) try(suppressWarnings(confint(ml, method = "profile", oldNames = FALSE,
                                              parm = "theta_")), silent = TRUE)
    if (is.matrix(intervals))
      result$profile <- list(parameter = rownames(intervals), low = intervals[, 1],
                           high = intervals[, 2])
    group <- names(getME(model, "flist"))[1]
    levels <- levels(getME(model, "flist")[[group]])
    covariance <- as.matrix(vcov(model))
    distances <- sapply(levels, function(level) {
      # At fixed variances: generalized least squares without the group.
      kept <- getME(model, "flist")[[group]] != level
      z <- as.matrix(getME(model, "Z")[kept, ] %*% getME(model, "Lambda"))
      v <- diag(sum(kept)) + z %*% t(z)
      x <- getME(model, "X")[kept, , drop = FALSE]
      solved <- solve(v, x)
      beta <- solve(t(x) %*% solved, t(solved) %*% getME(model, "y")[kept])
      change <- fixef(model) - beta
      as.numeric(t(change) %*% solve(covariance, change)) / length(change)
    })
    result$influence <- list(group = group, level = levels, cooks_distance = distances)
  }
  result
}

results <- sapply(names(models), one_model, simplify = FALSE)
results$meta <- list(lme4 = as.character(packageVersion("lme4")),
                     lmerTest = as.character(packageVersion("lmerTest")))
writeLines(jsonlite::toJSON(results, auto_unbox = TRUE, digits = NA, pretty = 1, na = "null"),
           file.path(folder, "slopes.json"))
