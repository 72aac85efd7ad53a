# Writes after_fit_reference.json: what R reports after fits of data/after_fit.csv (make_after_fit_data.py).
# Needs R with lme4, lmerTest, pbkrtest, emmeans, performance, glmmTMB, jsonlite (Debian: r-cran-*). Run from this folder.
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest); library(emmeans); library(performance); library(glmmTMB); library(jsonlite)})
d <- read.csv("data/after_fit.csv", stringsAsFactors = TRUE)
d$Ab <- relevel(d$A, ref = "b")
frame <- function(x) { x <- cbind(row = rownames(as.data.frame(x)), as.data.frame(x)); for (j in names(x)) if (is.factor(x[[j]])) x[[j]] <- as.character(x[[j]]); x }
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9))
fit <- function(formula) eval(bquote(lmer(.(formula), d, control = tight)))
m <- list(
  crossed = fit(y ~ A * B + x + (1 | school) + (1 | item)), nested = fit(y ~ A + B + (1 | school/klass)),
  slopes = fit(y ~ poly(x, 2) + A + (x | school)), weighted = lmer(y ~ A * B + (1 | school), d, weights = w, control = tight),
  empty = fit(y ~ A * C + (1 | school)), deficient = fit(y ~ A + x + x2 + (1 | school)),
  singular = fit(flat ~ A + x + (1 | klass)), relevelled = fit(y ~ Ab * B + (1 | school)),
  logged = fit(log(yp) ~ A * B + x + (1 | school)), by_slope = fit(y ~ A * x + B + (1 | school)))
cooks_of <- function(name) { f <- if (name == "crossed") lmer(y ~ A * B + x + (1 | school) + (1 | item), d, control = tight) else lmer(y ~ poly(x, 2) + A + (x | school), d, control = tight); unname(cooks.distance(influence(f, "school"))) }
tests <- function(f, name) {
  kr <- name != "weighted"  # pbkrtest leaves prior weights out of V: 709 degrees of freedom from 240 rows
  out <- list(satterthwaite = frame(coef(summary(f, ddf = "Satterthwaite"))), anova_2 = frame(anova(f, type = 2)), anova_1 = frame(anova(f, type = 1)),
    ranova = frame(ranova(f)), hat = unname(hatvalues(f))[1:8], pearson = unname(resid(f, "pearson", scaled = TRUE))[1:8],
    fitted = unname(fitted(f))[1:8], typical = unname(predict(f, re.form = NA))[1:8])
  if (kr) out <- c(out, list(kenward_roger = frame(coef(summary(f, ddf = "Kenward-Roger"))), anova_2_kr = frame(anova(f, type = 2, ddf = "Kenward-Roger"))))
  if (!name %in% c("empty", "deficient")) out <- c(out, list(anova_3 = frame(anova(f, type = 3))))
  if (!name %in% c("weighted", "slopes")) {  # profiles of weighted fits fail in lme4 1.1-31; performance leaves out slopes without a fixed column
    out <- c(out, list(r2 = unlist(r2(f)), icc = icc(f)$ICC_adjusted)) }
  if (name %in% c("crossed", "nested", "slopes", "singular")) out <- c(out, list(profile = frame(confint(profile(f, signames = FALSE)))))
  if (name %in% c("crossed", "slopes")) out <- c(out, list(cooks = cooks_of(name)))
  out
}
contrasts <- function(e, of = c("tukey", "holm", "bonferroni", "sidak", "none")) {
  show <- function(x) frame(summary(x, infer = TRUE))
  c(list(means = frame(e)), setNames(lapply(of, function(a) show(contrast(e, "pairwise", adjust = a))), of),
    list(control = show(contrast(e, "trt.vs.ctrl", adjust = "none")), sequential = show(contrast(e, "consec", adjust = "none")), polynomial = show(contrast(e, "poly"))))
}
means <- function(f, specs, mode, ...) emmeans(f, specs, lmer.df = mode, ...)
s <- "satterthwaite"; k <- "kenward-roger"
emm <- list(
  crossed = contrasts(means(m$crossed, ~A, k)), crossed_by = contrasts(means(m$crossed, ~A | B, s)), nested = contrasts(means(m$nested, ~A, k)),
  slopes = contrasts(means(m$slopes, ~A, s)), weighted = contrasts(means(m$weighted, ~A, s)), singular = contrasts(means(m$singular, ~A, s)),
  logged = contrasts(means(m$logged, ~A, s, type = "response")))
single <- list(
  proportional = frame(means(m$crossed, ~A, s, weights = "proportional")), at = frame(means(m$crossed, ~A, s, at = list(x = 1))),
  empty = frame(means(m$empty, ~A:C, s)), deficient = frame(means(m$deficient, ~A, s)), relevelled = frame(means(m$relevelled, ~Ab, k)),
  pair_of_pairs = frame(summary(contrast(means(m$crossed, ~A * B, k), interaction = c("pairwise", "pairwise")), infer = TRUE)),
  control_of_steps = frame(summary(contrast(means(m$crossed, ~A * B, k), interaction = c("trt.vs.ctrl", "consec")), infer = TRUE)),
  slopes = frame(emtrends(m$by_slope, ~A, var = "x", lmer.df = s)), pairs_of_slopes = frame(summary(pairs(emtrends(m$by_slope, ~A, var = "x", lmer.df = s)), infer = TRUE)))
set.seed(1)
V <- cov2cor(vcov(contrast(means(m$crossed, ~A, s), "pairwise")))
mvt <- list(correlation = V, quantile = mvtnorm::qmvt(.95, tail = "both.tails", corr = V, df = 217, algorithm = mvtnorm::GenzBretz(maxpts = 1e6, abseps = 1e-6))$quantile)
# glmmTMB differentiates exactly; glmer's standard errors, by differences, are off by up to half a percent
g <- list(binomial = glmmTMB(cbind(k, n - k) ~ A * B + x + (1 | school), d, family = binomial), poisson = glmmTMB(cnt ~ A + B + x + (1 | school) + (1 | item), d, family = poisson))
of_family <- function(f) { e <- emmeans(f, ~A, df = Inf); list(loglik = as.numeric(logLik(f)), coef = frame(coef(summary(f))$cond), means = frame(e), response = frame(summary(e, type = "response")),
  pairs = frame(summary(pairs(e), infer = TRUE)), ratios = frame(summary(pairs(e), infer = TRUE, type = "response")), proportional = frame(emmeans(f, ~A, weights = "proportional", df = Inf))) }
out <- list(versions = as.list(sapply(c("lme4", "lmerTest", "pbkrtest", "emmeans", "performance", "glmmTMB"), function(p) as.character(packageVersion(p)))),
  tests = Map(tests, m, names(m)), contrasts = emm, single = single, mvt = mvt, families = lapply(g, of_family))
write(toJSON(out, digits = 10, auto_unbox = TRUE, na = "null", dataframe = "rows"), "after_fit_reference.json")
