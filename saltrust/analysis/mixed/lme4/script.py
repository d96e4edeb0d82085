"""What R is told: functions of a model that is fitted once.

The formula arrives as text that :mod:`saltrust.analysis.mixed.lme4.formula` has written from
checked tokens, and is evaluated where nothing but R's own packages stats and base is seen.
"""

from __future__ import annotations

#: Fit, keep what lme4 warns of, and give coefficients, variances and tests of terms.
FIT = """
function(text, rows, binomial, reml, weighted, ddf) {
  form <- as.formula(text, env = new.env(parent = asNamespace("stats")))
  notes <- character()
  keep <- function(said) notes <<- c(notes, conditionMessage(said))
  call <- list(formula = form, data = rows)
  if (weighted) call$weights <- rows$w
  if (binomial) {
    call$family <- stats::binomial()
    call$control <- lme4::glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5))
    call$nAGQ <- 1L
  } else {
    call$REML <- reml
    call$control <- lme4::lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-8))
  }
  model <- withCallingHandlers(
    do.call(if (binomial) lme4::glmer else lmerTest::lmer, call),
    warning = function(said) { keep(said); invokeRestart("muffleWarning") },
    message = function(said) { keep(said); invokeRestart("muffleMessage") })
  found <- if (binomial) summary(model)$coefficients else summary(model, ddf = ddf)$coefficients
  all_names <- names(lme4::fixef(model, add.dropped = TRUE))
  parts <- as.data.frame(lme4::VarCorr(model))
  single <- is.na(parts$var2)
  terms <- tryCatch({
    if (binomial) {
      made <- emmeans::joint_tests(model, data = rows)
      list(term = as.character(made[["model term"]]), statistic = made$F.ratio, p = made$p.value,
           numerator = made$df1, denominator = made$df2)
    } else {
      made <- anova(model, type = 3, ddf = ddf)
      list(term = rownames(made), statistic = made[["F value"]], p = made[["Pr(>F)"]],
           numerator = made$NumDF, denominator = made$DenDF)
    }
  }, error = function(problem) list(term = character(), statistic = numeric(), p = numeric(),
                                    numerator = numeric(), denominator = numeric()))
  list(model = model, notes = unique(notes), names = rownames(found), all_names = all_names,
       estimate = found[, 1], se = found[, 2],
       df = if (!binomial && ncol(found) == 5) found[, 3] else rep(Inf, nrow(found)),
       group = parts$grp[single], effect = ifelse(is.na(parts$var1[single]), "",
                                                  parts$var1[single]),
       variance = parts$vcov[single],
       pair_group = parts$grp[!single], effect_a = parts$var1[!single],
       effect_b = parts$var2[!single], covariance = parts$vcov[!single],
       correlation = parts$sdcor[!single],
       size_names = names(lme4::ngrps(model)), sizes = as.numeric(lme4::ngrps(model)),
       singular = lme4::isSingular(model, tol = 1e-4), n = nobs(model),
       log_likelihood = as.numeric(logLik(model)), parameters = attr(logLik(model), "df"),
       term = terms$term, statistic = terms$statistic, term_p = terms$p,
       numerator = terms$numerator, denominator = terms$denominator)
}
"""

#: Marginal means of factors, within a level of others, on the scale of the linear predictor.
MEANS = """
function(model, over, within, rows, df, limit, null) {
  means <- emmeans::emmeans(model, over, at = within, data = rows, lmer.df = df,
                            lmerTest.limit = limit, pbkrtest.limit = limit)
  made <- summary(means, infer = c(TRUE, TRUE), null = null)
  list(means = means, estimate = predict(means), se = made$SE, df = made$df)
}
"""
