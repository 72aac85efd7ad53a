# Writes lme4_reference.json: what lme4 reports for the reference models on the data sets of the package.
# Needs R with lme4 and jsonlite. Run from this folder: Rscript make_lme4_reference.R
suppressMessages({library(lme4); library(jsonlite)})
read <- function(name, factors) {
  d <- read.csv(file.path("..", "..", "bayeslmm", "datasets", "data", paste0(name, ".csv.gz")), stringsAsFactors = FALSE)
  for (f in factors) d[[f]] <- factor(d[[f]])
  d
}
data <- list(
  dyestuff = read("dyestuff", "Batch"),
  sleepstudy = read("sleepstudy", "Subject"),
  ratpup = within(read("ratpup", c("litter", "treatment")), sex <- factor(sex, levels = c("Male", "Female"))),
  insteval = read("insteval", c("s", "d", "studage", "lectage", "service", "dept"))
)
models <- list(
  list("dyestuff", "Yield ~ 1 + (1 | Batch)"),
  list("sleepstudy", "Reaction ~ 1 + Days + (1 + Days | Subject)"),
  list("sleepstudy", "Reaction ~ 1 + Days + (1 + Days || Subject)"),
  list("sleepstudy", "Reaction ~ 1 + Days + (1 | Subject)"),
  list("sleepstudy", "Reaction ~ 1 + Days + (0 + Days | Subject)"),
  list("ratpup", "weight ~ litsize + treatment + sex + (1 | litter)"),
  list("ratpup", "weight ~ litsize + treatment + sex + (1 + sex | litter)"),
  list("ratpup", "weight ~ litsize + treatment + sex + (1 | litter:sex)"),
  list("insteval", "y ~ 1 + dept * service + (1 | s) + (1 | d)"),
  list("insteval", "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)")
)
control <- lmerControl(optimizer = "nloptwrap", calc.derivs = FALSE,
                       optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-10, maxeval = 100000))
record <- function(m, method) {
  f <- suppressWarnings(lmer(as.formula(m[[2]]), data[[m[[1]]]], REML = method == "reml", control = control))
  vc <- as.data.frame(VarCorr(f))
  list(data = m[[1]], formula = m[[2]], method = method, nobs = nobs(f),
       objective = if (method == "reml") REMLcrit(f) else -2 * as.numeric(logLik(f)),
       dof = attr(logLik(f), "df"), aic = AIC(f), bic = BIC(f), singular = isSingular(f),
       sigma = sigma(f), theta = as.list(getME(f, "theta")),
       fixef = as.list(fixef(f)), se = as.list(sqrt(diag(as.matrix(vcov(f))))),
       varcorr = vc[, c("grp", "var1", "var2", "vcov", "sdcor")],
       ranef = if (nobs(f) < 1000) lapply(ranef(f, condVar = FALSE), function(r) cbind(level = rownames(r), r)) else NULL)
}
out <- list(lme4 = as.character(packageVersion("lme4")),
            fits = unlist(lapply(models, function(m) list(record(m, "ml"), record(m, "reml"))), recursive = FALSE))
ci <- function(f) { p <- suppressWarnings(profile(f)); k <- confint(p); lapply(seq_len(nrow(k)), function(i) list(parameter = rownames(k)[i], lower = k[i, 1], upper = k[i, 2])) }
out$profile_ci_95 <- list(
  dyestuff_ml = ci(lmer(Yield ~ 1 + (1 | Batch), data$dyestuff, REML = FALSE)),
  sleepstudy_ml = ci(lmer(Reaction ~ Days + (Days | Subject), data$sleepstudy, REML = FALSE)))
writeLines(toJSON(out, auto_unbox = TRUE, digits = 12, pretty = TRUE, na = "null", null = "null"), "lme4_reference.json")
