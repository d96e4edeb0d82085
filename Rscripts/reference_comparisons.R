# Golden values of simple effects, cells and differences of differences, from emmeans.
#
#   Rscript Rscripts/reference_comparisons.R
#
# compares means of the models below, fitted to tables of tests/reference/mixed_effects, and
# writes comparisons.json beside them. `make references` runs it from the root of the repository.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(emmeans)
  library(jsonlite)
})

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
folder <- file.path(dirname(script), "..", "tests", "reference", "mixed_effects")
emm_options(msg.interaction = FALSE)

two <- "auprc ~ explainer * model + age + (1 | image)"
three <- "auprc ~ explainer * model * view + (1 | image)"
partly <- "auprc ~ explainer * model + view + (1 | image)"

# `control` is the number of a mean, or of a level of the first factor where differences of
# differences are made (`crossed`); `empty` a combination of levels whose rows are left out.
case <- function(name, table, formula, over, by = NULL, control = 0, crossed = FALSE,
                 empty = NULL)
  list(name = name, table = table, formula = formula, over = over, by = by, control = control,
       crossed = crossed, empty = empty)

cases <- list(
  case("by", "interaction", two, "explainer", "model"),
  case("by control", "interaction", two, "explainer", "model", control = 3),
  case("cells", "interaction", two, c("explainer", "model")),
  case("cells control", "interaction", two, c("model", "explainer"), control = 2),
  case("interaction", "interaction", two, c("explainer", "model"), crossed = TRUE),
  case("interaction control", "interaction", two, c("explainer", "model"), control = 3,
       crossed = TRUE),
  case("by two", "three_way", three, "explainer", c("model", "view")),
  case("cells by", "three_way", three, c("explainer", "model"), "view"),
  case("interaction by", "three_way", three, c("view", "explainer"), "model", crossed = TRUE),
  case("averaged by", "three_way", partly, "model", "explainer"),
  case("averaged interaction", "three_way", partly, c("explainer", "model"), crossed = TRUE),
  case("empty by", "three_way", partly, "explainer", "model", empty = c("xrai", "net b")),
  case("empty cells", "three_way", partly, c("explainer", "model"), empty = c("xrai", "net b"))
)

read_scores <- function(name, empty) {
  table <- read.csv(file.path(folder, paste0(name, ".csv")), check.names = FALSE)
  if (length(empty)) table <- table[!(table$explainer == empty[1] & table$model == empty[2]), ]
  for (column in names(table)) if (is.character(table[[column]]))
    table[[column]] <- factor(table[[column]], levels = unique(table[[column]]))
  table
}

columns <- function(rows) {
  pick <- function(pattern) rows[[grep(pattern, names(rows))[1]]]
  list(estimate = pick("^estimate$|^emmean$"), se = rows$SE, df = rows$df, lo = pick("lower"),
       hi = pick("upper"))
}

compared <- function(means, case, adjust) {
  kind <- if (case$control) "trt.vs.ctrl" else "pairwise"
  made <- if (case$crossed && case$control)
    contrast(means, interaction = c(kind, "pairwise"), ref = case$control) else
    if (case$crossed) contrast(means, interaction = kind) else
    if (case$control) contrast(means, kind, ref = case$control) else contrast(means, kind)
  rows <- as.data.frame(summary(made, infer = c(TRUE, TRUE), adjust = adjust))
  raw <- as.data.frame(summary(made, infer = c(FALSE, TRUE), adjust = "none"))
  c(columns(rows), list(t = raw$t.ratio, raw = raw$p.value, p = rows$p.value))
}

one_case <- function(case) {
  message(case$name)
  model <- suppressMessages(lmer(as.formula(case$formula), read_scores(case$table, case$empty),
                                 control = lmerControl(optimizer = "bobyqa",
                                                       optCtrl = list(rhoend = 1e-8))))
  found <- c(case[c("name", "table", "formula", "control", "crossed")],
             lapply(case[c("over", "by", "empty")], function(text) I(as.character(text))))
  special <- if (case$crossed) NULL else if (case$control) "dunnettx" else "tukey"
  for (df in c("satterthwaite", "kenward-roger")) {
    means <- emmeans(model, case$over, by = case$by, lmer.df = df)
    found[[df]] <- list(means = columns(as.data.frame(summary(means, infer = c(TRUE, FALSE)))))
    for (adjust in c(special, "none", "sidak", "holm", "bonferroni"))
      found[[df]][[adjust]] <- compared(means, case, adjust)
  }
  found
}

golden <- lapply(cases, one_case)
writeLines(toJSON(golden, auto_unbox = TRUE, digits = I(12), na = "null"),
           file.path(folder, "comparisons.json"))
