# Golden values of the mixed models, from lme4, lmerTest, emmeans, pbkrtest and multcomp.
#
#   Rscript Rscripts/reference_values.R
#
# fits the models below to the tables of tests/reference/mixed_effects and writes lme4.json
# beside them. The tests compare with that file and need no R; run this again only when a table
# or a model is added. `make references` runs it from the root of the repository.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
  library(multcomp)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
folder <- file.path(dirname(script), "..", "tests", "reference", "mixed_effects")

models <- list(
  list("sleepstudy", "Reaction ~ Days + (1 | Subject)", "Days", "0"),
  list("cake_recipe", "angle ~ recipe + (1 | replicate)", "recipe", "A"),
  list("cake_temp", "angle ~ temperature + (1 | recipe_rep)", "temperature", "175"),
  list("machines", "score ~ Machine + (1 | Worker)", "Machine", "A"),
  list("machines_nested", "score ~ Machine + (1 | Worker) + (1 | WM)", "Machine", "A"),
  list("pastes", "strength ~ cask + (1 | batch)", "cask", "a"),
  list("unbalanced", "auprc ~ explainer + (1 | image)", "explainer", "UNET"),
  list("singular", "auprc ~ explainer + (1 | image)", "explainer", "UNET"),
  list("crossed", "auprc ~ explainer + (1 | image) + (1 | reader)", "explainer", "UNET"),
  list("nested", "auprc ~ explainer + (1 | patient/image)", "explainer", "UNET"),
  list("interaction", "auprc ~ explainer * model + age + (1 | image)", "explainer", "UNET"),
  list("missing", "auprc ~ explainer + (1 | image)", "explainer", "UNET"),
  list("three", "auprc ~ explainer + (1 | image) + (1 | patient) + (1 | reader)", "explainer",
       "L0"),
  list("readings", "auprc ~ explainer + (1 | image) + (1 | image:reader)", "explainer", "L4"),
  list("covariate", "auprc ~ explainer + age + w + (1 | image)", "explainer", "L0"),
  list("models", "auprc ~ explainer + (1 | model) + (1 | image:explainer) + (1 | model:explainer)",
       "explainer", "UNET"),
  list("tiny", "auprc ~ explainer + (1 | image)", "explainer", "UNET")
)

# lme4's default optimiser leaves 1e-6 in the variances; this leaves what noise allows.
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-8))

read_scores <- function(name, formula, over) {
  table <- read.csv(file.path(folder, paste0(name, ".csv")), colClasses = "character",
                    na.strings = c("", "NA"))
  grouping <- unlist(lapply(findbars(formula), function(bar) all.vars(bar[[3]])))
  for (column in names(table)) {
    values <- type.convert(table[[column]], as.is = TRUE)
    table[[column]] <- if (is.numeric(values) && !column %in% c(over, grouping)) values else
      factor(table[[column]], levels = unique(na.omit(table[[column]])))
  }
  table
}

effects <- function(model, ...) {
  rows <- summary(model, ...)$coefficients
  list(term = rownames(rows), estimate = rows[, 1], se = rows[, 2], df = rows[, 3],
       t = rows[, 4], p = rows[, 5])
}

components <- function(model) {
  parts <- as.data.frame(VarCorr(model))
  list(grp = parts$grp, vcov = parts$vcov, sdcor = parts$sdcor)
}

estimates <- function(made, adjust) {
  rows <- summary(made, infer = c(TRUE, TRUE), adjust = adjust)
  width <- ncol(rows)
  list(contrast = as.character(rows$contrast), estimate = rows$estimate, se = rows$SE,
       df = rows$df, lo = rows[[width - 3]], hi = rows[[width - 2]], t = rows[[width - 1]],
       p = rows$p.value)
}

marginal <- function(model, over, control, df, suffix) {
  means <- emmeans(model, over, lmer.df = df, lmerTest.limit = 1e6, pbkrtest.limit = 1e6)
  rows <- summary(means, infer = c(TRUE, FALSE))
  width <- ncol(rows)
  found <- list(emmeans = list(level = as.character(rows[[1]]), emmean = rows$emmean,
                               se = rows$SE, df = rows$df, lo = rows[[width - 1]],
                               hi = rows[[width]]))
  pairs <- contrast(means, "pairwise")
  against <- contrast(means, "trt.vs.ctrl", ref = match(control, as.character(rows[[1]])))
  for (adjust in c("tukey", "none", "bonferroni", "holm", "sidak"))
    found[[paste0("pairs_", adjust)]] <- estimates(pairs, adjust)
  for (adjust in c("dunnettx", "none", "bonferroni", "holm", "sidak"))
    found[[paste0("dunnett_", adjust)]] <- estimates(against, adjust)
  set.seed(1)
  exact <- summary(against, infer = c(FALSE, TRUE), adjust = "mvt")
  found$dunnett_mvt <- list(contrast = as.character(exact$contrast), p = exact$p.value)
  setNames(found, paste0(names(found), "_", suffix))
}

single_step <- function(model, over, rows) {
  set.seed(1)
  tested <- summary(glht(model, do.call(mcp, setNames(list(rows), over))))$test
  list(contrast = names(tested$coefficients), estimate = tested$coefficients,
       se = tested$sigma, z = tested$tstat, p = as.numeric(tested$pvalues),
       error = attr(tested$pvalues, "error"))
}

one_model <- function(name, text, over, control_level) {
  message(name)
  formula <- as.formula(text)
  table <- read_scores(name, formula, over)
  model <- lmer(formula, table, control = control)
  ml <- lmer(formula, table, REML = FALSE, control = control)
  rows <- anova(model)
  adjusted <- anova(model, ddf = "Kenward-Roger")
  # With an interaction, multcomp compares at the reference of the other factor: left out.
  plain <- !any(grepl(":", attr(terms(model), "term.labels")))
  c(list(name = name, n = nobs(model), formula = text, factor = over,
         levels = levels(droplevels(model.frame(model)[[over]])), control = control_level,
         fixed = effects(model), fixed_kr = effects(model, ddf = "Kenward-Roger"),
         vcov_beta = as.matrix(vcov(model)),
         vcov_beta_kr = as.matrix(pbkrtest::vcovAdj(model)), varcomp = components(model),
         theta = unname(getME(model, "theta")), logLik_REML = as.numeric(logLik(model)),
         REMLcrit = REMLcrit(model), AIC = AIC(model), BIC = BIC(model),
         singular = isSingular(model, tol = 1e-4),
         anova_satt = list(term = rownames(rows), NumDF = rows$NumDF, DenDF = rows$DenDF,
                           F = rows[["F value"]], p = rows[["Pr(>F)"]]),
         anova_kr = list(term = rownames(adjusted), NumDF = adjusted$NumDF,
                         DenDF = adjusted$DenDF, F = adjusted[["F value"]],
                         p = adjusted[["Pr(>F)"]]),
         logLik_ML = as.numeric(logLik(ml)), varcomp_ML = components(ml), fixed_ML = effects(ml)),
    marginal(model, over, control_level, "satterthwaite", "satt"),
    marginal(model, over, control_level, "kenward-roger", "kr"),
    if (plain) list(glht_tukey = single_step(model, over, "Tukey"),
                    glht_dunnett = single_step(model, over, "Dunnett")))
}

# jsonlite is not among the packages this project asks for.
to_json <- function(value, indent = 0) {
  space <- strrep(" ", indent + 1)
  if (is.matrix(value)) value <- unname(lapply(seq_len(nrow(value)), function(i) value[i, ]))
  if (is.list(value)) {
    items <- vapply(value, to_json, "", indent = indent + 1)
    if (is.null(names(value)))
      return(paste0("[\n", paste0(space, items, collapse = ",\n"), "\n", strrep(" ", indent), "]"))
    return(paste0("{\n", paste0(space, quoted(names(value)), ": ", items, collapse = ",\n"),
                  "\n", strrep(" ", indent), "}"))
  }
  text <- if (is.character(value)) quoted(value) else if (is.logical(value)) tolower(value) else
    ifelse(is.finite(value), sprintf("%.15g", value), "null")
  # Scalars of the model stay scalars; columns of a table are lists, of length one too.
  if (length(text) == 1 && indent < 3) text else paste0("[", paste(text, collapse = ", "), "]")
}
quoted <- function(text) paste0("\"", gsub("([\"\\\\])", "\\\\\\1", text), "\"")

emm_options(msg.interaction = FALSE)
golden <- lapply(models, function(row) suppressWarnings(suppressMessages(
  one_model(row[[1]], row[[2]], row[[3]], row[[4]]))))
names(golden) <- vapply(models, `[[`, "", 1)
versions <- vapply(c("lme4", "lmerTest", "emmeans", "pbkrtest", "multcomp"),
                   function(name) as.character(packageVersion(name)), "")
golden$meta <- c(list(R = R.version.string), as.list(versions))
writeLines(to_json(golden), file.path(folder, "lme4.json"))
