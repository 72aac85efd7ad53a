# Writes glmm_reference.json: what lme4 and glmmTMB report for generalized linear mixed models.
# Needs R with lme4, glmmTMB, ordinal, jsonlite (Debian: r-cran-*). Run from this folder.
suppressMessages({library(lme4); library(glmmTMB); library(ordinal); library(jsonlite)})
read <- function(name, factors) {
  d <- read.csv(file.path("..", "..", "bayeslmm", "datasets", "data", paste0(name, ".csv.gz")), stringsAsFactors = FALSE)
  for (f in factors) d[[f]] <- factor(d[[f]])
  d
}
cbpp <- read("cbpp", c("herd", "period"))
ticks <- read("grouseticks", c("INDEX", "BROOD", "YEAR", "LOCATION"))
verb <- within(read("verbagg", c("item", "id", "Gender", "btype", "situ", "mode")), {
  Gender <- factor(Gender, levels = c("F", "M")); btype <- factor(btype, levels = c("curse", "scold", "shout"))
  situ <- factor(situ, levels = c("other", "self")); mode <- factor(mode, levels = c("want", "do"))
  y <- as.integer(r2 == "Y"); resp <- factor(resp, levels = c("no", "perhaps", "yes"), ordered = TRUE)})
tight <- glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhobeg = 1e-3, rhoend = 1e-9), calc.derivs = FALSE)
lme4_fit <- function(formula, data, family, nAGQ = 1) {
  f0 <- suppressWarnings(glmer(formula, data, family, nAGQ = nAGQ))
  f <- suppressWarnings(update(f0, start = list(theta = getME(f0, "theta"), fixef = fixef(f0)), control = tight))
  seconds <- system.time(suppressWarnings(glmer(formula, data, family, nAGQ = nAGQ)))[[3]]
  vc <- as.data.frame(VarCorr(f))
  # minus twice the log-likelihood as glmer optimises it: for nAGQ > 1 lme4 leaves constants out, see loglik_note
  list(formula = paste(deparse(formula, 500), collapse = ""), family = family()$family, link = family()$link, nAGQ = nAGQ, nobs = nobs(f),
       loglik = as.numeric(logLik(f)), loglik_note = if (nAGQ > 1) "deviance scale: the saturated model's log-likelihood is left out" else "",
       fixef = as.list(fixef(f)), se_hessian = as.list(sqrt(diag(as.matrix(vcov(update(f, control = glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhobeg = 1e-3, rhoend = 1e-9)))))))),
       varcorr = vc[, c("grp", "var1", "var2", "sdcor")], glmer_seconds = seconds,
       ranef = if (max(sapply(ranef(f), nrow)) < 130) lapply(ranef(f, condVar = FALSE), function(r) cbind(level = rownames(r), r)) else NULL)
}
tmb_fit <- function(formula, data, family, ...) {
  seconds <- system.time(f <- glmmTMB(formula, data, family = family, ...))[[3]]
  vc <- lapply(VarCorr(f)$cond, function(v) list(sd = attr(v, "stddev"), cor = attr(v, "correlation")))
  list(formula = paste(deparse(formula, 500), collapse = ""), family = f$modelInfo$family$family, link = f$modelInfo$family$link, nobs = nobs(f),
       loglik = as.numeric(logLik(f)), fixef = as.list(fixef(f)$cond), se = as.list(sqrt(diag(as.matrix(vcov(f)$cond)))),
       varcorr = vc, dispersion = sigma(f), zi = as.list(fixef(f)$zi), glmmTMB_seconds = seconds)
}
set.seed(20261126)
J <- 40; n <- 12; g <- factor(rep(1:J, each = n)); x <- round(rnorm(J * n), 3); b <- rnorm(J, 0, .5)[g]
positive <- data.frame(g, x, gamma = round(rgamma(J * n, shape = 3, rate = 3 / exp(1 + .4 * x + b)), 5))
positive$beta <- round(rbeta(J * n, 8 * plogis(.3 + .5 * x + b), 8 * (1 - plogis(.3 + .5 * x + b))), 5)
positive$t <- round(1 + .5 * x + b + .7 * rt(J * n, 4), 4)
write.csv(positive, file.path("data", "positive.csv"), row.names = FALSE)
B <- binomial; P <- poisson
out <- list(
  versions = as.list(sapply(c("lme4", "glmmTMB", "ordinal"), function(p) as.character(packageVersion(p)))),
  lme4 = list(
    cbpp_laplace = lme4_fit(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, B),
    cbpp_agq9 = lme4_fit(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, B, 9),
    cbpp_agq25 = lme4_fit(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, B, 25),
    cbpp_probit = lme4_fit(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, function() binomial("probit")),
    cbpp_cloglog = lme4_fit(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, function() binomial("cloglog")),
    ticks = lme4_fit(TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION), ticks, P),
    verb = lme4_fit(y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), verb, B),
    verb_slope = lme4_fit(y ~ Anger + Gender + btype + situ + (1 + situ | id) + (1 | item), verb, B)),
  glmmTMB = list(
    ticks_nbinom2 = tmb_fit(TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION), ticks, nbinom2),
    ticks_nbinom1 = tmb_fit(TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION), ticks, nbinom1),
    ticks_zip = tmb_fit(TICKS ~ YEAR + cHEIGHT + (1 | BROOD), ticks, poisson, ziformula = ~ 1),
    gamma_log = tmb_fit(gamma ~ x + (1 | g), positive, Gamma(link = "log")),
    beta_logit = tmb_fit(beta ~ x + (1 | g), positive, beta_family()),
    student = tryCatch(tmb_fit(t ~ x + (1 | g), positive, t_family()), error = function(e) list(error = conditionMessage(e))),
    verb = tmb_fit(y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), verb, binomial)))
seconds <- system.time(o <- clmm(resp ~ Anger + Gender + btype + situ + (1 | id) + (1 | item), data = verb))[[3]]
out$ordinal <- list(formula = "resp ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", loglik = as.numeric(logLik(o)), thresholds = as.list(o$alpha),
                    fixef = as.list(o$beta), sd = lapply(VarCorr(o), function(v) sqrt(v[1])), clmm_seconds = seconds)
write(toJSON(out, digits = 10, auto_unbox = TRUE, na = "null", pretty = 1, dataframe = "rows"), "glmm_reference.json")
